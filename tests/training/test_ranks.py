"""Two processes learn what one does: in float64 to a millionth; in float32 to its rounding, see also journeys."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from segpipe.cli.train import registries
from segpipe.config.check import settings_of
from segpipe.config.compose import compose
from segpipe.errors import ConfigError
from segpipe.system.processes import shared_folder
from segpipe.system.processes.ranks import processes_part
from segpipe.training.callbacks import read_history
from segpipe.training.checkpoints.files import read_checkpoint
from segpipe.training.data.run_data import prepare_data
from segpipe.training.fitting import fit, recipe_of
from tests.support.ranks import run_ranks
from tests.support.runs import saved_weights

pytestmark = pytest.mark.slow
FIGURES = ("val/loss", "val/pseudo_dice")


def fit_in(precision: str, words: list[str], folder: Path) -> None:
    settings = settings_of(compose(words, registries), registries())
    exact = settings.model_copy(update={"trainer": settings.trainer.model_copy(update={"precision": precision})})
    recipe = recipe_of(exact)
    folder.mkdir(parents=True, exist_ok=True)
    provenance = {"digest": recipe.digest, "network": exact.network}
    patches = prepare_data(exact, recipe).patches(exact)
    with processes_part():
        fit(exact, patches, folder, provenance=provenance, log_metrics=lambda values, step: None)


@pytest.fixture(scope="module")
def fitted(tiny_words, tmp_path_factory) -> Callable[..., tuple[Path, Path]]:
    """Gives the runs of one process with batches of four and of two with batches of two, of a precision and changes."""
    words = [*tiny_words, "network.dropout=0.0", "trainer.max_steps=6", "trainer.devices=auto"]

    def run(precision: str, *changes: str) -> tuple[Path, Path]:
        home = tmp_path_factory.mktemp("runs")
        fit_in(precision, [*words, *changes, "training.batch_size=4"], home / "alone")
        given = [*words, *changes, "training.batch_size=2"]
        run_ranks(fit_in, precision, given, home / "together", cwd=home, log=home / "logs")
        return home / "alone", home / "together"

    return run


def curve(run: Path, name: str) -> list[float]:
    return [point[name] for point in read_history(run) if name in point]


def difference(one: Path, other: Path) -> float:
    """The largest difference between weights, as a part of the largest weight of their tensor."""
    expected, found = saved_weights(one), saved_weights(other)
    assert expected.keys() == found.keys()
    return max(float((found[name] - value).abs().max() / value.abs().max()) for name, value in expected.items())


def test_in_float64_losses_gradients_figures_and_weights_are_equal_after_several_steps(fitted):
    """In two rounds: the last step has patches at mistakes that the processes have looked up together."""
    alone, together = fitted("64-true", "training.ema=null", "sampling.hard_negatives=0.33")
    mined = [read_checkpoint(run / "checkpoints" / "last.ckpt")["PatchDataModule"] for run in (alone, together)]
    assert mined[0]["found"]
    assert mined[0] == mined[1]
    for name in ("train/loss", "train/grad_norm", *FIGURES):
        expected = curve(alone, name)
        assert len(expected) == (1 if name in FIGURES else 6)
        assert curve(together, name) == pytest.approx(expected, rel=1e-6)
    assert difference(alone, together) < 1e-6


def test_in_float32_the_figures_of_one_network_are_equal(fitted):
    """With a rate of nothing all steps have the same weights; of others Adam makes much of a gradient of rounding."""
    alone, together = fitted("32-true", "optimizer.lr=1e-30")
    assert difference(alone, together) < 1e-6
    for name in FIGURES:
        (expected,) = curve(alone, name)
        assert curve(together, name) == pytest.approx([expected], rel=1e-6)


def fit_apart(words: list[str]) -> None:
    shared_folder._SEEN_WITHIN_S = 0.2
    with pytest.raises(ConfigError, match="need one folder that all of them see"):
        fit_in("32-true", words, Path(f"of_rank_{os.environ['RANK']}"))


def test_processes_that_do_not_see_one_folder_begin_no_training(tiny_words, tmp_path):
    run_ranks(fit_apart, [*tiny_words, "trainer.devices=auto"], cwd=tmp_path, log=tmp_path / "logs")
    assert not list(tmp_path.rglob("metrics.jsonl"))
