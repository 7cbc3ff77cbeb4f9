"""The fingerprint of a data set: what its scans and lesions measure, as a plan for training needs it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.datasets.loading import load_case
from segpipe.datasets.manifest import Entry, Manifest
from segpipe.errors import DatasetError, SegpipeError
from segpipe.geometry import axis_directions
from segpipe.labels import lesion_value
from segpipe.lesions import label_lesions, measure_lesions
from segpipe.system.parallel_map import parallel_map

_SAMPLE = 5000
_PERCENTILES = (0.5, 50.0, 99.5)
_SPREAD = (0, 10, 50, 90, 100)
_AXES = ("right_left", "front_back", "along_body")
Triple = tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class CaseMeasurements:
    """What one case measures, along right–left, anterior–posterior and superior–inferior.

    Args:
        spacing_mm: Voxel size.
        extent_mm: Size of the scan.
        lesion_hu: HU of a sample of its lesions' voxels.
        volumes_mm3: Of its lesions.
        diameters_mm: Their longest diameters.
    """

    spacing_mm: Triple
    extent_mm: Triple
    lesion_hu: NDArray[np.float32]
    volumes_mm3: tuple[float, ...]
    diameters_mm: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """What a data set measures.

    Args:
        cases: How many could be read.
        spacing_mm: Of each case, (cases, 3), along right–left, anterior–posterior and superior–inferior.
        extent_mm: Of each case, (cases, 3).
        lesion_hu: Percentiles 0.5, 50 and 99.5 of lesion voxels.
        lesions_per_case: Count in each case.
        volumes_mm3: Of all lesions.
        diameters_mm: Longest diameters of all lesions.
    """

    cases: int
    spacing_mm: NDArray[np.float64]
    extent_mm: NDArray[np.float64]
    lesion_hu: Triple
    lesions_per_case: tuple[int, ...]
    volumes_mm3: tuple[float, ...]
    diameters_mm: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        """The content of `fingerprint.json`: how everything is spread, from the smallest to the largest."""
        return {
            "cases": self.cases,
            "lesions": len(self.volumes_mm3),
            "lesions_per_case": _spread(np.array(self.lesions_per_case)),
            "lesion_volume_mm3": _spread(np.array(self.volumes_mm3)),
            "lesion_diameter_mm": _spread(np.array(self.diameters_mm)),
            "lesion_hu": {
                f"{percent:g} %": round(hu, 1) for percent, hu in zip(_PERCENTILES, self.lesion_hu, strict=True)
            },
            **{
                f"{name}_{axis}": _spread(values[:, number])
                for name, values in (
                    ("spacing_mm", self.spacing_mm),
                    ("extent_mm", self.extent_mm),
                    ("voxels", np.rint(self.extent_mm / self.spacing_mm)),
                )
                for number, axis in enumerate(_AXES)
            },
        }


def take_fingerprint(manifest: Manifest, *, workers: int | None = None, progress: bool = True) -> Fingerprint:
    """Measures all cases of a data set; unreadable ones are left out, since `ingest --check` reports them.

    Raises:
        DatasetError: when no case can be read or none has a lesion.
    """
    facts = _measure_all(manifest, workers, progress)
    lesions = [facts_of_case for facts_of_case in facts if facts_of_case.volumes_mm3]
    if not lesions:
        raise DatasetError(
            "a plan needs cases with lesions",
            facts={"data set": manifest.name, "found": f"{len(facts)} readable cases, none with a lesion"},
            hint="python -m segpipe ingest --check DATASET   reports what is wrong with each case",
        )
    low, middle, high = np.percentile(np.concatenate([one.lesion_hu for one in lesions]), _PERCENTILES)
    return Fingerprint(
        cases=len(facts),
        spacing_mm=np.array([one.spacing_mm for one in facts]),
        extent_mm=np.array([one.extent_mm for one in facts]),
        lesion_hu=(float(low), float(middle), float(high)),
        lesions_per_case=tuple(len(one.volumes_mm3) for one in facts),
        volumes_mm3=tuple(volume for one in facts for volume in one.volumes_mm3),
        diameters_mm=tuple(diameter for one in facts for diameter in one.diameters_mm),
    )


def measure_case(entry: Entry, labels: dict[int, str]) -> CaseMeasurements | None:
    """Measures one case, or returns None when it cannot be read."""
    try:
        case = load_case(entry, labels)
    except SegpipeError:
        return None
    axes = [
        axis for _, axis in sorted((world, axis) for axis, (world, _) in enumerate(axis_directions(case.grid.affine)))
    ]
    spacing = [case.grid.spacing_mm[axis] for axis in axes]
    extent = [case.grid.shape[axis] * case.grid.spacing_mm[axis] for axis in axes]
    lesion = np.zeros(case.image.shape, dtype=np.bool_) if case.mask is None else case.mask == lesion_value(labels)
    components, _ = label_lesions(lesion)
    lesions = measure_lesions(components, case.grid)
    values = case.image[lesion].astype(np.float32)
    return CaseMeasurements(
        spacing_mm=_triple(spacing),
        extent_mm=_triple(extent),
        lesion_hu=values[:: max(1, len(values) // _SAMPLE)],
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


def _triple(values: Sequence[float]) -> Triple:
    x, y, z = values
    return float(x), float(y), float(z)
