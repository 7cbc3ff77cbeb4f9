"""Randomness is a function of (seed, epoch, index): workers and kills change nothing, to the bit."""

import ctypes
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from segpipe.errors import TrainingError
from segpipe.training.callbacks import HISTORY, read_history
from segpipe.training.checkpoints.files import read_checkpoint
from tests.support.leftovers import unfinished
from tests.support.processes import PATIENCE_S, Process
from tests.support.runs import fit_words


def losses(folder: Path, name: str = "train/loss") -> list[float]:
    return [row[name] for row in read_history(folder) if name in row]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return read_checkpoint(folder / "checkpoints" / "last.ckpt")["state_dict"]


def assert_bit_identical(one: Path, other: Path) -> None:
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture
def cached(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("SEGPIPE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.mark.slow
@pytest.mark.usefixtures("cached")
def test_workers_change_no_loss(tiny_words, tmp_path):
    for workers in (0, 2):
        fit_words([*tiny_words, f"trainer.workers={workers}"], tmp_path / str(workers))
    assert losses(tmp_path / "0") == losses(tmp_path / "2")
    assert len(losses(tmp_path / "0")) == 12
    assert_bit_identical(tmp_path / "0", tmp_path / "2")


@pytest.mark.slow
@pytest.mark.usefixtures("cached")
@pytest.mark.parametrize(
    ("scheduler", "step", "accumulate", "hard_negatives"),
    [("one_cycle", 4, 1, 0.0), ("one_cycle", 7, 2, 0.33), ("plateau", 4, 2, 0.33), ("plateau", 7, 1, 0.0)],
)
def test_a_killed_run_resumes_to_the_same_bits(tiny_words, tmp_path, scheduler, step, accumulate, hard_negatives):
    words = [*tiny_words, f"scheduler={scheduler}", f"training.accumulate={accumulate}", "training.batch_size=1"]
    words.append(f"sampling.hard_negatives={hard_negatives}")
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    fit_words(words, whole)
    run_and_kill(words, killed, after_step=step)
    reached = read_checkpoint(killed / "checkpoints" / "last.ckpt")["global_step"]
    assert 0 < reached < 12
    fit_words([*words, "resume=true"], killed)
    assert losses(whole) == losses(killed)
    assert_bit_identical(whole, killed)
    names = {file.name for file in (killed / "checkpoints").iterdir()} - set(unfinished(killed))
    assert names == {"best.ckpt", "last.ckpt"}


@pytest.mark.slow
@pytest.mark.usefixtures("cached")
@pytest.mark.parametrize("scheduler", ["one_cycle", "plateau"])
def test_a_run_of_which_only_the_best_checkpoint_is_left_resumes_to_the_same_bits(tiny_words, tmp_path, scheduler):
    """It was written before a scheduler that looks at the validation took its step."""
    words = [*tiny_words, f"scheduler={scheduler}"]
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    fit_words(words, whole)
    run_and_kill(words, killed, after_step=7, names=("best.ckpt", "last.ckpt"))
    (killed / "checkpoints" / "last.ckpt").unlink()
    assert read_checkpoint(killed / "checkpoints" / "best.ckpt")["global_step"] == 5
    fit_words([*words, "resume=true"], killed)
    assert losses(whole) == losses(killed)
    assert_bit_identical(whole, killed)


@pytest.mark.slow
@pytest.mark.usefixtures("cached")
def test_a_resumed_run_takes_the_new_rate_and_length(tiny_words, tmp_path):
    words = [*tiny_words, "scheduler=constant", "scheduler.warmup=0"]
    fit_words([*words, "optimizer.lr=3e-3", "trainer.max_steps=4"], tmp_path)
    fit_words([*words, "optimizer.lr=1e-6", "trainer.max_steps=6", "resume=true"], tmp_path)
    assert losses(tmp_path, "train/lr") == [3e-3] * 4 + [1e-6] * 2


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="freed memory is filled by glibc")
@pytest.mark.usefixtures("cached")
def test_what_freed_memory_holds_decides_no_loss(tiny_words, tmp_path):
    words = [*tiny_words, "recipe.patch=[16,16,16]", "network.channels=[8,16,16,32]", "network.strides=[2,2,2]"]
    words += ["trainer.max_steps=6"]  # the deepest map has 2×2×2 voxels
    one, other = tmp_path / "1", tmp_path / "255"
    for folder in (one, other):
        process = Process(fit_in_filled_memory, int(folder.name), words, folder, cwd=tmp_path, log=tmp_path / "log")
        assert process.wait() == 0, (tmp_path / "log").read_text()
    assert len(losses(one)) == 6
    assert losses(one, "val/loss") == losses(other, "val/loss")
    assert losses(one) == losses(other)
    assert_bit_identical(one, other)


def fit_in_filled_memory(fill: int, words: list[str], folder: Path) -> None:
    """Fits while glibc fills memory that is freed or handed out."""
    perturb, mmap_threshold = -6, -3
    libc = ctypes.CDLL(None)
    libc.mallopt(mmap_threshold, 2**31 - 1)
    libc.mallopt(perturb, fill)
    fit_words(words, folder)


@pytest.mark.slow
@pytest.mark.usefixtures("cached")
def test_an_exploding_learning_rate_ends_in_one_message(tiny_words, tmp_path):
    words = [*tiny_words, "optimizer.lr=1e6", "scheduler=constant", "trainer.max_steps=40"]
    with pytest.raises(TrainingError, match="the training diverged") as error:
        fit_words(words, tmp_path)
    assert error.value.facts["lr"] == "1e+06"
    assert all(value.isfinite().all() for value in weights(tmp_path).values())


def run_and_kill(words: list[str], folder: Path, *, after_step: int, names: Sequence[str] = ("last.ckpt",)) -> None:
    process = Process(fit_words, words, folder, cwd=folder.parent, log=folder.parent / "log")
    try:
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline and process.returncode is None:
            rows = read_history(folder) if (folder / HISTORY).exists() else []
            reached = any(row["step"] >= after_step and "train/loss" in row for row in rows)
            if reached and all((folder / "checkpoints" / name).exists() for name in names):
                break
            time.sleep(0.005)
    finally:
        assert process.end(signal.SIGKILL) == -signal.SIGKILL
