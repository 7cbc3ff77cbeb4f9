"""Which nodules a phantom has: how large they are, what they are made of and where they lie."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

Sizes = Literal["large", "lidc"]
Shares = tuple[float, float, float]

SMALLEST_MM, MEDIAN_MM, LARGEST_MM, SPREAD = 4.0, 14.0, 30.0, 0.35
LIDC_SHARES = (0.0, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0)
LIDC_MM = (3.25, 4.2, 4.5, 5.2, 6.9, 10.4, 16.3, 19.8, 24.3, 33.0)


@dataclass(frozen=True)
class Population:
    """What is drawn for each nodule.

    Args:
        diameter_mm: Draws it, given the smallest that the scan's slices show well.
        texture_shares: Of solid, part-solid and ground-glass nodules.
        subsolid_from_mm: Smaller ones are solid.
        place_shares: Of isolated, juxta-pleural and juxta-vascular nodules.
    """

    diameter_mm: Callable[[np.random.Generator, float], float]
    texture_shares: Shares
    subsolid_from_mm: float
    place_shares: Shares


def _draw_large(rng: np.random.Generator, smallest_mm: float) -> float:
    diameter = MEDIAN_MM * np.exp(SPREAD * rng.standard_normal())
    return float(np.clip(diameter, max(SMALLEST_MM, smallest_mm), LARGEST_MM))


def _draw_lidc(rng: np.random.Generator, _: float) -> float:
    return float(np.exp(np.interp(rng.random(), LIDC_SHARES, np.log(LIDC_MM))))


POPULATIONS: dict[Sizes, Population] = {
    "large": Population(_draw_large, (0.8, 0.1, 0.1), 8.0, (0.5, 0.25, 0.25)),
    # Of 810 nodules of 446 patients of LIDC-IDRI (Armato et al. 2011, doi 10.1118/1.3528204): quantiles of the
    # diameter; the readers' texture, 3 being part-solid and more solid; what the scan shows within 3.5 mm.
    "lidc": Population(_draw_lidc, (0.88, 0.03, 0.09), 0.0, (0.35, 0.38, 0.27)),
}
"""`large` nodules are learnt within minutes, which is what they are for; those of `lidc` are as patients have them."""


@dataclass(frozen=True)
class PhantomKind:
    """What a phantom is like.

    Args:
        part_solid: Whether most nodules have ground glass, and the mask says it from what is solid.
        sizes: Of the nodules, see `POPULATIONS`.
        distractors: Whether the lungs also hold what detectors take for nodules.
    """

    part_solid: bool = False
    sizes: Sizes = "large"
    distractors: bool = False

    @property
    def words(self) -> tuple[str, ...]:
        """What distinguishes it from the plain phantom, for names of folders."""
        parts = ("parts",) if self.part_solid else ()
        sizes = (self.sizes,) if self.sizes != "large" else ()
        return (*parts, *sizes, *(("distractors",) if self.distractors else ()))
