"""Attacks by name: the smallest changes of a scan that cost the network most, each voxel by a few HU at most."""

import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch

from segpipe.case import Case
from segpipe.corruptions import Graded
from segpipe.inference.attacks.scan_loss import ScanLoss, Target

STEPS = 10
"""Of PGD, each a quarter of the bound, so that any place within it can be reached."""
LEVELS = (3, 5, 11, 22, 44)
UNIT = "HU at most"
SOURCE = (
    "1/2, 1, 2, 4 and 8 of 255 parts of a window of 1400 HU; 0.004 (1 of 255) was used for PGD on thoracic CT, "
    "8 of 255 for CT segmentation (Malik et al., arXiv 2406.08486)"
)
Loss = Callable[[torch.Tensor], torch.Tensor]
Method = Callable[[Loss, torch.Tensor, float], torch.Tensor]


@dataclass(frozen=True)
class Attack(Graded):
    """A change that is computed from the network's gradients and the reference mask.

    Args:
        method: Loss, HU and bound → changed HU.
        target: The network that is attacked.
    """

    group: ClassVar[str] = "attacks"
    method: Method
    target: Target

    def apply(self, case: Case, severity: int, *, seed: int = 0) -> Case:
        """The case after it; the same case and seed begin at the same place for every severity."""
        bound_hu, drawn = self.level(severity), int(self.generator(case, seed).integers(2**63))
        return perturb(case, self.target, self.method, bound_hu, seed=drawn)


def perturb(case: Case, target: Target, method: Method, bound_hu: float, *, seed: int = 0) -> Case:
    """The case with each voxel changed by whole HU, by `bound_hu` at most, and within the values that the scan has.

    Args:
        case: A scan with its reference mask.
        target: The network that is to be wrong.
        method: See `METHODS`.
        bound_hu: A whole number, which rounding cannot exceed.
        seed: Of what the method draws.
    """
    image = torch.from_numpy(np.asarray(case.image, dtype=np.float32))[None, None]
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Input Tensor 0 did not already require gradients")
        torch.manual_seed(seed)
        changed = method(ScanLoss(case, target), image, bound_hu)
    change_hu = (changed - image)[0, 0].round().numpy()
    moved = (case.image.astype(np.float64) + change_hu).astype(case.image.dtype)
    return replace(case, image=moved)


def fgsm(loss: Loss, image_hu: torch.Tensor, bound_hu: float) -> torch.Tensor:
    """One step along the sign of the gradient.

    Source: Goodfellow, Shlens and Szegedy, Explaining and Harnessing Adversarial Examples, ICLR 2015.
    """
    from captum.robust import FGSM

    low, high = _ends(image_hu)
    attack = FGSM(loss, _as_it_is, low, high)
    attack.zero_thresh = 0.0
    found: torch.Tensor = attack.perturb(image_hu, bound_hu, target=None)
    return found


def pgd(loss: Loss, image_hu: torch.Tensor, bound_hu: float) -> torch.Tensor:
    """`STEPS` steps along the sign of the gradient from a place that is drawn, none of them beyond the bound.

    Source: Madry et al., Towards Deep Learning Models Resistant to Adversarial Attacks, ICLR 2018.
    """
    from captum.robust import PGD

    low, high = _ends(image_hu)
    attack = PGD(loss, _as_it_is, low, high)
    attack.fgsm.zero_thresh = 0.0
    found: torch.Tensor = attack.perturb(
        image_hu, bound_hu, step_size=2.5 * bound_hu / STEPS, step_num=STEPS, target=None, random_start=True
    )
    return found


METHODS: Mapping[str, Method] = {"fgsm": fgsm, "pgd": pgd}


def attacks_on(target: Target, names: Iterable[str]) -> dict[str, Attack]:
    """Attacks on a network by name, see `METHODS`."""
    return {name: Attack(name, LEVELS, UNIT, SOURCE, METHODS[name], target) for name in names}


def _ends(image_hu: torch.Tensor) -> tuple[float, float]:
    low, high = torch.aminmax(image_hu)
    return float(low), float(high)


def _as_it_is(loss: torch.Tensor, _: None) -> torch.Tensor:
    return loss
