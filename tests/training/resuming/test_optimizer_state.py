"""A run goes on to the bit with the state of each optimizer that is not torch's; averaged weights are evaluated."""

import shutil
from pathlib import Path

import pytest
import torch

from segpipe.networks import build_network
from segpipe.training.checkpoints.files import read_checkpoint
from segpipe.training.checkpoints.weights import load_weights
from tests.support.runs import fit_words

pytestmark = pytest.mark.slow
NEW = ("lion", "muon", "soap", "schedule_free")


def last(run: Path) -> dict[str, object]:
    return read_checkpoint(run / "checkpoints" / "last.ckpt")


@pytest.fixture(scope="module")
def trained(tiny_words, tmp_path_factory):
    """Gives the run of an optimizer: five steps with a validation after the third, and the words that gave it."""
    runs: dict[str, tuple[Path, list[str]]] = {}

    def train(name: str) -> tuple[Path, list[str]]:
        words = [*tiny_words, f"optimizer={name}", "scheduler=constant", "trainer.max_steps=5"]
        words += ["training.keep_every=2", "training.validate_every=3", "training.spike_factor=null"]
        if name not in runs:
            runs[name] = tmp_path_factory.mktemp(name), words
            fit_words(words, runs[name][0])
        return runs[name]

    return train


@pytest.mark.parametrize("name", NEW)
def test_a_run_goes_on_to_the_bit(trained, tmp_path, name):
    whole, words = trained(name)
    (tmp_path / "checkpoints").mkdir()
    shutil.copy(whole / "checkpoints" / "step_0000002.ckpt", tmp_path / "checkpoints")
    fit_words([*words, "resume=true"], tmp_path)
    one, other = last(whole), last(tmp_path)
    assert_equal(one["state_dict"], other["state_dict"])
    assert_equal(one["current_model_state"], other["current_model_state"])
    assert_equal(one["optimizer_states"], other["optimizer_states"])


def test_the_average_of_a_schedule_free_optimizer_is_what_is_evaluated(trained):
    run, _ = trained("schedule_free")
    checkpoint = last(run)
    learnt, averaged = checkpoint["current_model_state"], checkpoint["state_dict"]
    sides = [state["z"] for _, state in sorted(checkpoint["optimizer_states"][0]["state"].items())]
    order = [name for group in (True, False) for name in learnt if decays(name, learnt) == group]
    assert len(order) == len(sides)
    for name, z in zip(order, sides, strict=True):
        # y = (1 − β₁)z + β₁x, so x = (y − (1 − β₁)z) / β₁
        torch.testing.assert_close(averaged[name], (learnt[name] - 0.1 * z) / 0.9, rtol=1e-4, atol=1e-6)
        assert not torch.equal(averaged[name], learnt[name])
    network = load_weights(build_network(checkpoint["segpipe"]["network"]), run / "checkpoints" / "last.ckpt")
    found = network.state_dict()
    assert all(torch.equal(found[name.removeprefix("network.")], averaged[name]) for name in order)


def decays(name: str, weights: dict[str, torch.Tensor]) -> bool:
    return weights[name].ndim > 1


def assert_equal(one: object, other: object) -> None:
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_equal(one[key], other[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for pair in zip(one, other, strict=True):
            assert_equal(*pair)
    else:
        assert one == other
