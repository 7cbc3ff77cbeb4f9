"""The fingerprint of a data set: what its scans and lesions measure, as a plan for training needs it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial, reduce
from operator import attrgetter, or_
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.case import Case
from segpipe.datasets.loading import load_case
from segpipe.datasets.manifest import Entry, Manifest
from segpipe.errors import DatasetError, SegpipeError
from segpipe.geometry import FloatArray, sizes_along_world
from segpipe.labels import IGNORED, lesion_masks, plain_name
from segpipe.lesions import label_lesions, measure_lesions
from segpipe.system.processes.parallel_map import parallel_map

_SAMPLE = 5000
_PERCENTILES = (0.5, 50.0, 99.5)
_SPREAD = (0, 10, 50, 90, 100)
_AXES = ("right_left", "front_back", "along_body")
Triple = tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class CaseLesions:
    """What the lesions of one case measure.

    Args:
        hu: HU of a sample of their voxels.
        volumes_mm3: Of each.
        diameters_mm: Longest diameter of each.
    """

    hu: NDArray[np.float32]
    volumes_mm3: tuple[float, ...]
    diameters_mm: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class CaseMeasurements:
    """What one case measures, along right–left, anterior–posterior and superior–inferior.

    Args:
        spacing_mm: Voxel size.
        extent_mm: Size of the scan.
        lesions: Of all labels together.
        classes: Of each lesion label, where there are several.
    """

    spacing_mm: Triple
    extent_mm: Triple
    lesions: CaseLesions
    classes: Mapping[str, CaseLesions] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Lesions:
    """What the lesions of a data set measure; there is at least one.

    Args:
        hu: Percentiles 0.5, 50 and 99.5 of their voxels.
        per_case: Count in each case.
        volumes_mm3: Of each.
        diameters_mm: Longest diameter of each.
    """

    hu: Triple
    per_case: tuple[int, ...]
    volumes_mm3: tuple[float, ...]
    diameters_mm: tuple[float, ...]

    @classmethod
    def of(cls, cases: Sequence[CaseLesions]) -> "Lesions | None":
        """The lesions of all cases; None where there are none."""
        found = [case for case in cases if case.volumes_mm3]
        if not found:
            return None
        return cls(
            hu=_triple(np.percentile(np.concatenate([case.hu for case in found]), _PERCENTILES)),
            per_case=tuple(len(case.volumes_mm3) for case in cases),
            volumes_mm3=tuple(volume for case in found for volume in case.volumes_mm3),
            diameters_mm=tuple(diameter for case in found for diameter in case.diameters_mm),
        )

    def to_dict(self) -> dict[str, Any]:
        """How all is spread, from the smallest to the largest."""
        return {
            "lesions": len(self.volumes_mm3),
            "lesions_per_case": _spread(np.array(self.per_case)),
            "lesion_volume_mm3": _spread(np.array(self.volumes_mm3)),
            "lesion_diameter_mm": _spread(np.array(self.diameters_mm)),
            "lesion_hu": {f"{percent:g} %": round(hu, 1) for percent, hu in zip(_PERCENTILES, self.hu, strict=True)},
        }


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """What a data set measures.

    Args:
        cases: How many could be read.
        spacing_mm: Of each case, (cases, 3), along right–left, anterior–posterior and superior–inferior.
        extent_mm: Of each case, (cases, 3).
        lesions: Of all labels together.
        classes: Of each lesion label, where there are several; None for one that no case has.
        ignores: Whether masks mark voxels that do not count.
    """

    cases: int
    spacing_mm: NDArray[np.float64]
    extent_mm: NDArray[np.float64]
    lesions: Lesions
    classes: Mapping[str, Lesions | None] = field(default_factory=dict)
    ignores: bool = False

    @property
    def kinds(self) -> list[Lesions]:
        """The lesions apart, as a network must distinguish them: of each label that is there."""
        return [lesions for lesions in self.classes.values() if lesions] or [self.lesions]

    def to_dict(self) -> dict[str, Any]:
        """The content of `fingerprint.json`: how everything is spread, from the smallest to the largest."""
        classes = {name: lesions.to_dict() if lesions else {"lesions": 0} for name, lesions in self.classes.items()}
        return {
            "cases": self.cases,
            **self.lesions.to_dict(),
            **{
                f"{name}_{axis}": _spread(values[:, number])
                for name, values in (
                    ("spacing_mm", self.spacing_mm),
                    ("extent_mm", self.extent_mm),
                    ("voxels", np.rint(self.extent_mm / self.spacing_mm)),
                )
                for number, axis in enumerate(_AXES)
            },
            **({"classes": classes} if classes else {}),
        }


def take_fingerprint(manifest: Manifest, *, workers: int | None = None, progress: bool = True) -> Fingerprint:
    """Measures all cases of a data set; unreadable ones are left out, since `ingest --check` reports them.

    Raises:
        DatasetError: when no case can be read or none has a lesion.
    """
    facts = _measure_all(manifest, workers, progress)
    lesions = Lesions.of([one.lesions for one in facts])
    if lesions is None:
        raise DatasetError(
            "a plan needs cases with lesions",
            facts={"data set": manifest.name, "found": f"{len(facts)} readable cases, none with a lesion"},
            hint="python -m segpipe ingest --check DATASET   reports what is wrong with each case",
        )
    names = facts[0].classes
    return Fingerprint(
        cases=len(facts),
        spacing_mm=np.array([one.spacing_mm for one in facts]),
        extent_mm=np.array([one.extent_mm for one in facts]),
        lesions=lesions,
        classes={name: Lesions.of([one.classes[name] for one in facts]) for name in names},
        ignores=any(plain_name(name) == IGNORED for name in manifest.labels.values()),
    )


def measure_case(entry: Entry, labels: dict[int, str]) -> CaseMeasurements | None:
    """Measures one case, or returns None when it cannot be read."""
    try:
        case = load_case(entry, labels)
    except SegpipeError:
        return None
    spacing, extent = sizes_along_world(case.grid)
    masks = lesion_masks(np.zeros(case.image.shape, dtype=np.uint8) if case.mask is None else case.mask, labels)
    together = _measure_lesions(case, reduce(or_, masks.values()))
    classes = {name: _measure_lesions(case, inside) for name, inside in masks.items()} if len(masks) > 1 else {}
    return CaseMeasurements(_triple(spacing), _triple(extent), together, classes)


def _measure_lesions(case: Case, inside: NDArray[np.bool_]) -> CaseLesions:
    components, _ = label_lesions(inside)
    lesions = measure_lesions(components, case.grid)
    values = case.image[inside].astype(np.float32)
    return CaseLesions(
        hu=values[:: max(1, len(values) // _SAMPLE)],
        volumes_mm3=tuple(lesion.volume_mm3 for lesion in lesions),
        diameters_mm=tuple(lesion.longest_diameter_mm for lesion in lesions),
    )


def _measure_all(manifest: Manifest, workers: int | None, progress: bool) -> list[CaseMeasurements]:
    measure: Callable[[Entry], CaseMeasurements | None] = partial(measure_case, labels=dict(manifest.labels))
    title = "measure" if progress else None
    found = dict(parallel_map(measure, manifest.entries, name=attrgetter("id"), title=title, workers=workers))
    measured = [found[index] for index in range(len(manifest.entries))]
    return [facts for facts in measured if isinstance(facts, CaseMeasurements)]


def _spread(values: NDArray[Any]) -> dict[str, float]:
    return {f"{percent:g} %": round(float(np.percentile(values, percent)), 3) for percent in _SPREAD}


def _triple(values: Sequence[float] | FloatArray) -> Triple:
    x, y, z = values
    return float(x), float(y), float(z)
