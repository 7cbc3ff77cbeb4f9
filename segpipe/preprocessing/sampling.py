"""Where training patches are read: lesions of all sizes equally often, the rest of the body for contrast."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Annotated

import numpy as np
from annotated_types import Ge, Interval
from numpy.typing import NDArray
from pydantic import ConfigDict, model_validator
from pydantic.dataclasses import dataclass as checked_dataclass

from segpipe.errors import DatasetError
from segpipe.preprocessing.cache.cached_case import CachedCase
from segpipe.preprocessing.recipe import Recipe, Shape

SIZE_CLASSES_MM = (6.0, 10.0, 20.0, 30.0)
"""Upper diameters of the size classes; 6 mm: Fleischner 2017 follow-up limit, 10/20/30 mm: TNM 8 T1a/T1b/T1c."""

Fraction = Annotated[float, Interval(ge=0, le=1)]


@checked_dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Sampling:
    """How patches are placed; the section `sampling` of the configuration.

    Args:
        lesion_fraction: Share of patches that are placed on a lesion; the others lie anywhere in the body.
        shift: Of the patch's edge: how far the lesion (or, in scope `voi`, the crop's centre) may lie from the patch's
            centre; at 0.5 it may lie at the patch's border.
        size_balance: 0 shows every lesion equally often, 1 every size class equally often.
        hidden_borders: In scope `voi`: share of patches in which the scan goes on beyond the crop's border, see
            `continuation`; in the others the border repeats, as it does where a crop is predicted.
        hard_negatives: In scope `scan`: share of patches that are placed where the network took something else for a
            lesion, looked up after each validation; until the first one they lie anywhere in the body, too.
        hard_negative_scans: Training scans that are looked at for them, drawn anew each time.
    """

    lesion_fraction: Fraction
    shift: Annotated[float, Interval(ge=0, le=0.5)]
    size_balance: Fraction = 0.5
    hidden_borders: Fraction = 0.0
    hard_negatives: Fraction = 0.0
    hard_negative_scans: Annotated[int, Ge(1)] = 16

    @model_validator(mode="after")
    def _check_shares(self) -> "Sampling":
        if self.lesion_fraction + self.hard_negatives > 1:
            found = f"{self.lesion_fraction:g} + {self.hard_negatives:g}"
            raise ValueError(f"lesion_fraction and hard_negatives are shares of one whole, found {found}")
        return self


@dataclass(frozen=True)
class _SampledLesion:
    """A lesion that patches are placed on: its case, its number there, its longest diameter and its class."""

    case: int
    number: int
    diameter_mm: float
    class_number: int


@dataclass(frozen=True)
class HardPlace:
    """Where something else was taken for a lesion: the case's number and a voxel."""

    case: int
    voxel: Shape


@dataclass(frozen=True)
class Place:
    """A patch: the case's number and the patch's first voxel, which may lie outside the scan."""

    case: int
    start: tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class PlaceSampler:
    """Places patches; every place is a function of (seed, index).

    Raises:
        DatasetError: when there is no case, or lesions are wanted and no case has one.
    """

    cases: Sequence[CachedCase]
    recipe: Recipe
    sampling: Sampling
    seed: int
    hard: Sequence[HardPlace] = ()
    _owners: NDArray[np.int32] = field(init=False)
    _numbers: NDArray[np.int32] = field(init=False)
    _shares: NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        lesions = [lesion for owner, case in enumerate(self.cases) for lesion in self._lesions(owner, case)]
        if not self.cases or (self.sampling.lesion_fraction > 0 and not lesions):
            found = f"{len(self.cases)} cases with {len(lesions)} lesions"
            raise DatasetError("training needs cases with lesions", facts={"found": found})
        diameters, classes = [lesion.diameter_mm for lesion in lesions], [lesion.class_number for lesion in lesions]
        shares = lesion_shares(diameters, self.sampling.size_balance, classes=classes)
        object.__setattr__(self, "_owners", np.array([lesion.case for lesion in lesions], dtype=np.int32))
        object.__setattr__(self, "_numbers", np.array([lesion.number for lesion in lesions], dtype=np.int32))
        object.__setattr__(self, "_shares", np.cumsum(shares))

    def _lesions(self, owner: int, case: CachedCase) -> list["_SampledLesion"]:
        """The lesions of a case; a crop is placed by its centre, so fragments must not make it count more than once."""
        classes = case.lesion_classes or (0,) * len(case.lesion_diameters_mm)
        lesions = [
            _SampledLesion(owner, number, diameter, class_number)
            for number, (diameter, class_number) in enumerate(zip(case.lesion_diameters_mm, classes, strict=True))
        ]
        if self.recipe.scope == "scan":
            return lesions
        return list({lesion.class_number: lesion for lesion in reversed(lesions)}.values())

    def place(self, index: int, rng: np.random.Generator, shape: Shape) -> Place:
        """Places the patch of `shape` voxels number `index`; `rng` must belong to that index alone."""
        draw = rng.random()
        if draw < self.sampling.lesion_fraction:
            row = int(np.searchsorted(self._shares, spread(self.seed, index, len(self._shares)), side="right"))
            row = min(row, len(self._shares) - 1)
            case, lesion = int(self._owners[row]), int(self._numbers[row])
        elif self.hard and draw < self.sampling.lesion_fraction + self.sampling.hard_negatives:
            hard = self.hard[int(spread(self.seed, index, len(self.hard)) * len(self.hard))]
            return Place(hard.case, self._inside(hard.case, np.array(hard.voxel, dtype=np.int64), rng, shape))
        else:
            case, lesion = int(spread(self.seed, index, len(self.cases)) * len(self.cases)), None
        if self.recipe.scope == "voi":
            return Place(case, self._around_centre(case, rng, shape))
        return Place(case, self._inside(case, self.cases[case].pick_voxel(lesion, rng), rng, shape))

    def _inside(
        self, case: int, voxel: NDArray[np.int64], rng: np.random.Generator, shape: Shape
    ) -> tuple[int, int, int]:
        """Keeps the patch within the scan where it fits, as a sliding window does, and centres it where not."""
        limits = np.array(self.cases[case].grid.shape) - shape
        wanted = voxel - np.array(shape) // 2 + self._shift(rng, shape)
        inside = np.clip(wanted, np.minimum(limits // 2, 0), np.maximum(limits, limits // 2))
        return _triple(inside)

    def _around_centre(self, case: int, rng: np.random.Generator, shape: Shape) -> tuple[int, int, int]:
        centred = (np.array(self.cases[case].grid.shape, dtype=np.int64) - shape) // 2
        return _triple(centred + self._shift(rng, shape))

    def _shift(self, rng: np.random.Generator, shape: Shape) -> NDArray[np.int64]:
        edges = np.array(shape)
        reach = np.minimum(np.floor(self.sampling.shift * edges).astype(np.int64), (edges - 1) // 2)
        offset: NDArray[np.int64] = rng.integers(-reach, reach, endpoint=True)
        return offset


def lesion_shares(
    diameters_mm: Sequence[float], balance: float, *, classes: Sequence[int] | None = None
) -> NDArray[np.float64]:
    """How often each lesion is chosen, summing to 1: all classes equally often.

    Args:
        diameters_mm: Of each lesion.
        balance: See `Sampling.size_balance`; within a class.
        classes: Number of each lesion's class; by default all are of one.
    """
    owners = np.zeros(len(diameters_mm), dtype=np.int64) if classes is None else np.asarray(classes, dtype=np.int64)
    sizes = np.digitize(np.asarray(diameters_mm, dtype=np.float64), SIZE_CLASSES_MM)
    shares = np.zeros(len(owners))
    present = np.unique(owners)
    for owner in present:
        inside = owners == owner
        counts = np.bincount(sizes[inside], minlength=len(SIZE_CLASSES_MM) + 1).astype(np.float64)
        weights = counts[sizes[inside]] ** -balance
        shares[inside] = weights / max(float(weights.sum()), 1e-12) / len(present)
    return shares


def spread(seed: int, index: int, count: int) -> float:
    """A number in [0, 1) that over each `count` indices in a row visits every 1/count once, in random order.

    So no case waits long for its turn, as it would with independent draws, and yet nothing but (seed, index) decides.
    """
    turn, position = divmod(index, max(count, 1))
    order, offset = _order(seed, turn, count)
    return float((order[position] + offset) / count)


@lru_cache(maxsize=4)
def _order(seed: int, turn: int, count: int) -> tuple[NDArray[np.int64], float]:
    rng = np.random.default_rng([seed, turn, count])
    return rng.permutation(count), float(rng.random())


def _triple(values: NDArray[np.int64]) -> tuple[int, int, int]:
    x, y, z = (int(value) for value in values)
    return x, y, z
