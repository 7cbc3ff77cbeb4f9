"""The second stage: candidates get another confidence, and keep their shape."""

import numpy as np
import pytest
import torch

from segpipe.case import Case
from segpipe.evaluation.detection.candidates import find_candidates
from segpipe.geometry import Grid
from segpipe.inference.second_stage import SecondStage
from segpipe.preprocessing.candidate_crop import CandidateCrop

CROP = CandidateCrop((4, 4, 4), (1.0, 1.0, 1.0), (-1000.0, 0.0))
GRID = Grid((30, 12, 12), np.eye(4))


@pytest.fixture
def case() -> Case:
    """Air with soft tissue from x = 15 on."""
    image = np.full(GRID.shape, -1000, dtype=np.int16)
    image[15:] = 0
    return Case("c", image, GRID)


def by_density(crops: torch.Tensor, peaks: torch.Tensor) -> torch.Tensor:
    """0.2 in air, 0.7 in tissue."""
    return torch.where(crops[:, 0].mean(dim=(1, 2, 3)) > 0, 0.7, 0.2)


def bumps(*places: tuple[int, float]) -> np.ndarray:
    """Peaks along x, each with neighbours at half its height and a fringe at a quarter."""
    volume = np.zeros(GRID.shape, dtype=np.float32)
    for x, peak in places:
        for offset, part in ((0, 1.0), (1, 0.5), (2, 0.25)):
            volume[[x - offset, x + offset], 6, 6] = peak * part
    return volume


def test_a_candidate_gets_its_confidence_and_keeps_its_shape(case):
    probability = bumps((6, 0.9), (22, 0.4))
    SecondStage(by_density, CROP).revise(case, probability)
    low, high = (0.01001 + 0.98999 * value for value in (0.2, 0.7))
    assert probability[6, 6, 6] == pytest.approx(low)
    assert probability[22, 6, 6] == pytest.approx(high)
    assert probability[[5, 7], 6, 6] == pytest.approx(low / 2)
    assert probability[[21, 23], 6, 6] == pytest.approx(high / 2)
    assert np.count_nonzero(probability) == 6  # the fringe, below 40 % of the peak, belongs to nobody
    found = find_candidates(probability)
    assert found.confidence == pytest.approx([high, low])
    assert found.centres[:, 0].tolist() == [22.0, 6.0]


def test_neighbours_stay_apart(case):
    probability = bumps((13, 0.9), (17, 0.8))  # which touch at x = 15
    before = find_candidates(probability)
    assert len(before.confidence) == 2
    SecondStage(by_density, CROP).revise(case, probability)
    after = find_candidates(probability)
    assert after.confidence == pytest.approx([0.70300, 0.20801], abs=1e-4)


def test_an_unlikely_candidate_is_one_all_the_same(case):
    probability = bumps((6, 0.9))
    SecondStage(lambda crops, peaks: torch.zeros(len(crops)), CROP).revise(case, probability)
    assert len(find_candidates(probability).confidence) == 1


def test_without_candidates_nothing_is_asked(case):
    probability = np.full(GRID.shape, 0.001, dtype=np.float32)
    SecondStage(lambda *_: pytest.fail("nobody should be asked"), CROP).revise(case, probability)
    assert not probability.any()


def test_candidates_are_asked_in_batches_with_their_own_peaks(case, monkeypatch):
    monkeypatch.setattr("segpipe.inference.second_stage._BATCH", 2)
    asked = []

    def classify(crops, peaks):
        asked.append([round(peak, 3) for peak in peaks.tolist()])
        return peaks

    probability = bumps((3, 0.3), (12, 0.9), (21, 0.6))
    SecondStage(classify, CROP).revise(case, probability)
    assert asked == [[0.9, 0.6], [0.3]]
