"""Checkpoints are whole or absent, plain, and found again."""

import os

import pytest
import pytorch_lightning as pl
import torch

from segpipe.errors import ConfigError, ModelError, OutputError
from segpipe.training.checkpoints import AtomicCheckpointIO, Checkpoints, find_resumable, read_checkpoint

CONTENT = {"state_dict": {"network.w": torch.ones(2)}, "segpipe": {"digest": "d"}, "global_step": 3}


def write(folder, name="last.ckpt", content=CONTENT):
    file = folder / "checkpoints" / name
    AtomicCheckpointIO().save_checkpoint(content, file)
    return file


def test_a_checkpoint_opens_with_weights_only(tmp_path):
    file = write(tmp_path)
    assert torch.load(file, weights_only=True)["global_step"] == 3
    assert read_checkpoint(file)["segpipe"] == {"digest": "d"}
    assert [path.name for path in file.parent.iterdir()] == ["last.ckpt"]


def test_a_failed_write_keeps_the_former_checkpoint(tmp_path, monkeypatch):
    file = write(tmp_path)

    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OutputError, match="the former one is kept"):
        AtomicCheckpointIO().save_checkpoint({**CONTENT, "global_step": 4}, file)
    assert read_checkpoint(file)["global_step"] == 3
    assert [path.name for path in file.parent.iterdir()] == ["last.ckpt"]


def test_code_in_a_checkpoint_is_not_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "owned"),)

    file = tmp_path / "foreign.ckpt"
    torch.save({"segpipe": Trap()}, file)
    with pytest.raises(ModelError, match="cannot be read"):
        read_checkpoint(file)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("content", [{"state_dict": {}}, [1, 2]])
def test_a_foreign_checkpoint_is_refused(tmp_path, content):
    file = tmp_path / "foreign.ckpt"
    torch.save(content, file)
    with pytest.raises(ModelError, match="not a segpipe checkpoint"):
        read_checkpoint(file)


def test_a_damaged_checkpoint_gives_way_to_the_next_good_one(tmp_path):
    best = write(tmp_path, "best.ckpt")
    last = write(tmp_path, "last.ckpt")
    os.utime(best, (1, 1))
    assert find_resumable(tmp_path) == last
    last.write_bytes(last.read_bytes()[:100])
    assert find_resumable(tmp_path) == best
    best.write_bytes(b"")
    with pytest.raises(ModelError, match="cannot be read"):
        find_resumable(tmp_path)
    assert find_resumable(tmp_path / "fresh") is None


def test_a_module_that_does_not_log_the_figure_is_explained(tmp_path):
    class Silent(pl.LightningModule):
        pass

    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    checkpoints = Checkpoints(tmp_path, every=1, validate_every=1, is_sound=lambda module: True)
    with pytest.raises(ConfigError, match="the module must log val/pseudo_dice") as caught:
        checkpoints.on_validation_end(trainer, Silent())
    assert caught.value.facts == {"module": "Silent", "logged": "nothing"}
