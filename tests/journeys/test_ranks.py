"""A training of several processes gives what one process gives, ends as one, and goes on as one."""

import shutil
from pathlib import Path

import pytest

from segpipe.training.callbacks import read_history
from tests.processes import as_main, segpipe
from tests.ranks import run_ranks
from tests.small_models import skip_onnx_export

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def words(tiny_words) -> list[str]:
    """Without dropout, whose masks depend on the process; clipped and accumulated."""
    changes = {
        "network.dropout": "0.0", "training.clip_norm": "0.5", "training.accumulate": "2", "trainer.max_steps": "7",
        "training.validation_patches": "6", "trainer.precision": "32-true", "evaluation.overlays": "0",
        "evaluation.weights": "best", "tracking": "none",
    }  # fmt: skip
    kept = [word for word in tiny_words if word.partition("=")[0] not in changes]
    return [*kept, *(f"{name}={value}" for name, value in changes.items())]


@pytest.fixture(scope="module")
def alone(words, tmp_path_factory) -> Path:
    """One process, batches of four."""
    home = tmp_path_factory.mktemp("alone")
    segpipe(*words, "training.batch_size=4", "hydra.run.dir=run", cwd=home, before=skip_onnx_export)
    return home / "run"


def train_together(words: list[str], home: Path) -> str:
    """Two processes as torchrun starts them on two machines; returns what they wrote."""
    given = [*words, "trainer.devices=auto", "trainer.nodes=2"]
    return run_ranks(as_main, "segpipe", given, skip_onnx_export, cwd=home, log=home / "logs", nodes=2, processes=1)


@pytest.fixture(scope="module")
def together(words, tmp_path_factory) -> Path:
    """Two processes, batches of two."""
    home = tmp_path_factory.mktemp("together")
    assert train_together(words, home).count("2 processes on 2 machines by ddp") == 1
    (run,) = (home / "runs" / "lung_nodule").iterdir()
    return run


def curve(run: Path, name: str) -> list[float]:
    return [point[name] for point in read_history(run) if name in point]


@pytest.mark.parametrize("name", ["train/loss", "train/grad_norm", "train/lr", "val/loss", "val/pseudo_dice"])
def test_two_processes_with_half_the_batch_learn_as_one_does(alone, together, name):
    expected = curve(alone, name)
    assert len(expected) == (1 if name.startswith("val/") else 7)
    assert curve(together, name) == pytest.approx(expected, rel=2e-5)


def test_two_processes_share_the_cases_and_find_what_one_does(alone, words, tmp_path):
    """They go on with the run of one, of which nothing but the evaluation is left to do."""
    run = shutil.copytree(alone, tmp_path / "run")
    shutil.rmtree(run / "evaluation")
    train_together([*words, "training.batch_size=4", f"hydra.run.dir={run}", "resume=true"], tmp_path)
    for name in ("cases.csv", "lesions.csv", "summary.json"):
        assert (run / "evaluation" / name).read_text() == (alone / "evaluation" / name).read_text()
    assert len(list((run / "evaluation" / "masks").iterdir())) == 2
    assert curve(run, "train/loss") == curve(alone, "train/loss")
