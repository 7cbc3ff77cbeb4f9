"""How a second stage learns, and what is chosen on validation scans."""

import numpy as np
import pytest
import torch

from segpipe.evaluation.results import CaseResult, Detection, ReferenceLesion
from segpipe.export.second_stage import CandidateLayers
from segpipe.networks.candidate_network import CandidateNetwork
from segpipe.preprocessing.recipe import Recipe
from segpipe.training.detector import fitting
from segpipe.training.detector.choosing import Choice, choose, fit_platt
from segpipe.training.detector.fitting import balanced_loss, fit_candidates, see, try_step
from segpipe.training.detector.samples import CaseCandidates, Samples
from segpipe.training.detector.settings import TwoStage

SETTINGS = TwoStage("two_stage", 8.0, CandidateLayers(channels=[4], dropout=0.0), 10, 30, 8, 1e-2)


def samples(count: int = 24) -> Samples:
    """Every third candidate is a bright lesion, however likely it looked."""
    lesion = torch.arange(count) % 3 == 0
    noise = 0.1 * torch.randn(count, 2, 8, 8, 8, generator=torch.Generator().manual_seed(1))
    crops = noise + torch.where(lesion, 0.5, -0.5)[:, None, None, None, None]
    return Samples(crops.half(), torch.full((count,), 0.5), lesion)


def fitted(watched: Samples | None = None, **changes: int) -> CandidateNetwork:
    torch.manual_seed(0)
    network = CandidateNetwork(channels=[4], dropout=0.0)
    settings = TwoStage(**{**vars(SETTINGS), **changes})
    return fit_candidates(network, samples(), watched, settings=settings, seed=3)


def test_it_tells_lesions_from_others_and_is_the_same_each_time():
    network = fitted()
    odds = see(network, samples())
    assert ((odds > 0) == samples().lesion_n).all()
    assert not network.training
    assert torch.equal(odds, see(fitted(), samples()))


def test_a_step_is_tried_on_the_crops_of_the_recipe(monkeypatch):
    seen = []
    monkeypatch.setattr(fitting, "augment", lambda crops: seen.append(crops.shape) or crops)
    try_step(SETTINGS, Recipe("r", (1.0, 1.0, 2.0), (-1000.0, 400.0), (32, 32, 32)))
    assert seen == [(8, 2, 8, 8, 4)]


def test_the_weights_with_the_lowest_validation_loss_are_kept():
    turned = samples()
    turned = Samples(turned.crops_n2xyz, turned.peaks_n, ~turned.lesion_n)  # the more it learns, the worse this gets
    first = fitted(steps=30 // 8, lr=SETTINGS.lr)
    kept, last = fitted(turned), fitted()
    assert balanced_loss(kept, turned) < balanced_loss(last, turned)
    assert balanced_loss(kept, turned) == pytest.approx(balanced_loss(first, turned), rel=0.2)


def test_what_the_evaluation_takes_for_a_lesion_is_one():
    detections = (Detection(0.9, matched=1), Detection(0.8), Detection(0.7, hits=(2,)))
    case = CaseCandidates(result_of(detections), torch.zeros(3, 2, 4, 4, 4).half())
    found = Samples.of([case, case])
    assert found.lesion_n.tolist() == 2 * [True, False, True]
    assert found.peaks_n.tolist() == pytest.approx(2 * [0.9, 0.8, 0.7])


def result_of(detections: tuple[Detection, ...], lesions: int = 1) -> CaseResult:
    own = tuple(ReferenceLesion(number + 1, 100.0, 6.0, (0.0, 0.0, 0.0)) for number in range(lesions))
    return CaseResult("c", "p", "no", {}, 0.0, 0.0, own, detections=detections)


class Sees(CandidateNetwork):
    """Sees the log odds that lie in the first voxel of each crop."""

    def __init__(self) -> None:
        super().__init__(channels=[4], dropout=0.0)

    def see(self, crops_b2xyz: torch.Tensor) -> torch.Tensor:
        return crops_b2xyz[:, 0, 0, 0, 0]


def cases(lesion: float, other: float, count: int = 6) -> list[CaseCandidates]:
    """In each case a lesion of the log odds given at a peak of 0.2, and another candidate at 0.9."""
    crops = torch.zeros(2, 2, 4, 4, 4)
    crops[0, 0, 0, 0, 0], crops[1, 0, 0, 0, 0] = other, lesion
    detections = (Detection(0.9), Detection(0.2, matched=1, hits=(1,)))
    return [CaseCandidates(result_of(detections), crops.half()) for _ in range(count)]


def test_the_share_with_the_best_cpm_is_taken():
    # log odds of the peaks: 2.20 and -1.39; half of each: the lesion wins from 3.6 more on, three quarters: from 1.2 on
    network = Sees()
    found = choose(network, cases(lesion=2.0, other=-2.0))
    assert (found.share, network.share.item()) == (0.5, 0.5)
    assert found.cpm == 1.0
    assert found.former == pytest.approx(4 / 7)  # found from one false positive a scan on
    assert choose(Sees(), cases(lesion=1.0, other=-1.0)).share == 0.75
    assert choose(Sees(), cases(lesion=-1.0, other=1.0)) == Choice(0.5, found.former, found.former)  # all equally bad


def test_the_confidence_is_calibrated_on_the_chosen_odds():
    network = Sees()
    mixed = cases(lesion=2.0, other=-2.0, count=8) + cases(lesion=-2.0, other=2.0, count=2)
    choose(network, mixed)
    crops, peaks = torch.cat([case.crops_n2xyz.float() for case in mixed]), torch.tensor([0.9, 0.2] * 10)
    with torch.inference_mode():
        confidence = network.eval()(crops, peaks)
    assert confidence.mean().item() == pytest.approx(0.5, abs=0.02)  # half of the candidates are lesions
    assert network.slope.item() > 0


@pytest.mark.parametrize("given", [[], cases(2.0, -2.0, count=4)])
def test_with_few_lesions_nothing_is_chosen(given):
    network = Sees()
    assert choose(network, given) == Choice(0.5)
    assert (network.share.item(), network.slope.item(), network.offset.item()) == (0.5, 1.0, 0.0)


def test_platt_s_line_gives_the_frequencies():
    # of 100 candidates with odds of -1 a tenth are lesions, of 100 with odds of 1 half of them
    odds = np.repeat([-1.0, 1.0], 100)
    lesion = np.concatenate([np.arange(100) < 10, np.arange(100) < 50])
    slope, offset = fit_platt(odds, lesion)
    rates = 1 / (1 + np.exp(-(slope * np.array([-1.0, 1.0]) + offset)))
    assert rates == pytest.approx([0.1, 0.5], abs=0.01)
