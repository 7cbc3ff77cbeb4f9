"""Hidden blocks, the error that counts them alone, and a pretraining from scans without masks to a run that uses it."""

import json
import logging
import shutil
from pathlib import Path

import pytest
import torch

from segpipe.cli.train import registries, train
from segpipe.config.compose import compose
from segpipe.errors import ConfigError
from segpipe.training.callbacks import read_history
from segpipe.training.checkpoints.files import read_checkpoint
from segpipe.training.checkpoints.saving import Monitor
from segpipe.training.pretraining.restoration import draw_hidden, hidden_error
from segpipe.training.pretraining.settings import Pretraining
from segpipe.training.resuming.run_folders import is_finished
from tests.training.resuming.test_resume import assert_bit_identical, losses


def test_the_wanted_share_of_whole_blocks_is_hidden_in_each_patch():
    hidden = draw_hidden((3, 1, 8, 8, 6), Pretraining(block=4, share=0.25), torch.Generator().manual_seed(0))
    assert hidden.shape == (3, 1, 8, 8, 6)  # 2×2×2 blocks, the last ones along z cut in half
    blocks = hidden[:, 0, ::4, ::4, ::4]
    assert blocks.sum((1, 2, 3)).tolist() == [2, 2, 2]
    whole = blocks.repeat_interleave(4, 1).repeat_interleave(4, 2).repeat_interleave(4, 3)[..., :6]
    assert torch.equal(hidden[:, 0], whole)
    assert not torch.equal(hidden[0], hidden[1])


def test_hidden_voxels_alone_count():
    images = torch.tensor([0.5, 0.2, 0.9, 0.0]).reshape(1, 1, 4, 1, 1)
    hidden = torch.tensor([True, False, True, False]).reshape(1, 1, 4, 1, 1)
    restored = torch.tensor([0.7, 9.0, 0.5, 9.0]).reshape(1, 1, 4, 1, 1)
    assert hidden_error(restored, images, hidden).item() == pytest.approx((0.2**2 + 0.4**2) / 2)


def test_at_half_the_resolution_the_mean_of_what_is_hidden_counts_by_its_share():
    images = torch.tensor([0.5, 0.2, 0.9, 0.1]).reshape(1, 1, 4, 1, 1)
    hidden = torch.tensor([True, False, True, True]).reshape(1, 1, 4, 1, 1)
    restored = torch.tensor([0.4, 0.8]).reshape(1, 1, 2, 1, 1)  # to be 0.5 (half hidden) and (0.9 + 0.1) / 2
    assert hidden_error(restored, images, hidden).item() == pytest.approx((0.5 * 0.1**2 + 1.0 * 0.3**2) / 1.5, rel=1e-4)


def test_the_smallest_error_is_the_best():
    assert Monitor("val/loss", "min").is_better(0.1, 0.2)
    assert not Monitor("val/loss", "min").is_better(0.2, 0.2)
    assert Monitor().is_better(0.3, 0.2)
    assert Monitor("val/loss", "min").is_better(9.0, None)


@pytest.fixture
def words(tiny_words, tiny_dataset, tmp_path):
    """Of a pretraining on the scans of the tiny data set, whose masks are not there."""
    shutil.copytree(tiny_dataset / "images", tmp_path / "scans" / "images")
    own = [word for word in tiny_words if not word.startswith(("+experiment", "data=", "sampling=", "loss="))]
    return ["+experiment=pretrain_encoder", "tracking=none", *own, f"data.root={tmp_path / 'scans'}"]


def run(words, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    assert train(compose(words, registries), folder, None).exit_code == 0


@pytest.mark.slow
@pytest.mark.usefixtures("without_onnx", "without_reports")
def test_scans_without_masks_teach_an_encoder_that_another_run_begins_with(words, tiny_words, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    run([*words, "training.keep_every=6"], whole)
    about = json.loads((whole / "pretraining.json").read_text())
    errors = [point["val/loss"] for point in read_history(whole) if "val/loss" in point]
    assert about["mean_squared_error"] == errors[-1] < errors[0]
    assert (about["experiment"], about["steps"]) == ("pretrain_encoder", 12)
    assert is_finished(whole)
    assert read_checkpoint(whole / "checkpoints" / "last.ckpt")["state_dict"][
        "network.model.2.1.conv.unit0.conv.bias"
    ].shape == (1,)

    (resumed / "checkpoints").mkdir(parents=True)
    shutil.copy(whole / "checkpoints" / "step_0000006.ckpt", resumed / "checkpoints" / "last.ckpt")
    run([*words, "training.keep_every=6", "resume=true"], resumed)
    assert losses(whole)[6:] == losses(resumed)
    assert_bit_identical(whole, resumed)

    caplog.clear()
    run(
        [*tiny_words, "tracking=none", "trainer.max_steps=2", f"init.from={whole}", "init.min_share=0.3"],
        tmp_path / "fine",
    )
    assert "left at random  model.2.0.conv.weight: shape 24×1×3×3×3 ≠ 24×2×3×3×3" in caplog.text
    init = json.loads((tmp_path / "fine" / "init.json").read_text())
    assert init["lineage"].startswith("pretrain_encoder on scans (")
    assert "pretrain_encoder on scans" in (tmp_path / "fine" / "model" / "docs" / "README.md").read_text()


def test_what_needs_outlines_is_refused(words, tmp_path):
    for word in ("check=true", "data.fold=all", "sampling=scan"):
        with pytest.raises(ConfigError, match="a pretraining is one run"):
            train(compose([*words, word], registries), tmp_path, None)
