"""Points of step sizes, by hand: w ← w − (g + w / 2) from w = 8, with gradients clipped at 2."""

import math

import pytest

from segpipe.training.callbacks import read_history
from segpipe.training.finite_steps import FiniteSteps
from segpipe.training.step_sizes import StepSizes
from tests.support.slope import train

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*isinstance.treespec")


def points(batches: list[float], folder, *, every: int, clip_norm: float | None, **settings) -> list[dict[str, float]]:
    steps = FiniteSteps(most=9, every=1000)
    train(batches, [steps, StepSizes(every=every, clip_norm=clip_norm, steps=steps)], folder, **settings)
    return read_history(folder)


def test_the_update_of_the_last_step_and_the_share_of_clipped_steps_are_logged(tmp_path):
    found = points([1.0, 4.0, 1.0, 1.0], tmp_path, every=2, clip_norm=2.0, gradient_clip_val=2.0)
    # 8 → 3 → −0.5, where 4 was clipped to 2 → −1.25 → −1.625
    assert found == [
        {"step": 2, "train/update_ratio": pytest.approx(3.5 / 3), "train/clipped_fraction": 0.5},
        {"step": 4, "train/update_ratio": pytest.approx(0.375 / 1.25), "train/clipped_fraction": 0.0},
    ]


def test_a_skipped_step_has_no_size_and_is_not_clipped(tmp_path):
    found = points([4.0, math.inf, 1.0], tmp_path, every=1, clip_norm=2.0, gradient_clip_val=2.0)
    assert found == [  # 8 → 8 − (2 + 4) → skipped → 2 − (1 + 1)
        {"step": 1, "train/update_ratio": pytest.approx(0.75), "train/clipped_fraction": 1.0},
        {"step": 3, "train/update_ratio": pytest.approx(1.0), "train/clipped_fraction": 0.0},
    ]


def test_batches_of_an_accumulated_step_are_one_step(tmp_path):
    found = points([1.0, 1.0], tmp_path, every=1, clip_norm=None, accumulate_grad_batches=2)
    assert found == [{"step": 1, "train/update_ratio": 0.625}]  # 8 → 3; nothing is clipped, so no share of it
