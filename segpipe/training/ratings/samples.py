"""Rated nodules as tensors: crops, measurements and the readers' grades, read once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from segpipe.datasets.loading import load_lesions
from segpipe.datasets.manifest import Entry, Manifest
from segpipe.errors import DatasetError, SegpipeError, raise_together
from segpipe.inference.findings import ClassComponents, measure_findings
from segpipe.inference.ratings.inputs import measurement_row
from segpipe.labels import NODULE
from segpipe.labels.ratings import RatingScale
from segpipe.lesions import find_components, label_lesions
from segpipe.preprocessing.rating_crop import RatingCrop, cut_crop
from segpipe.system.case_errors import attempt

MISSING = -1


@dataclass(frozen=True, eq=False)
class RatedSamples:
    """Nodules with their ratings.

    Args:
        names: Of each nodule.
        patients: The patient of each.
        crops_n2xyz: Scan and mask around each.
        measurements_nm: What is measured of each.
        levels_nr: The readers' grade of each on each scale, from 0, or `MISSING`.
    """

    names: Sequence[str]
    patients: Sequence[str]
    crops_n2xyz: torch.Tensor
    measurements_nm: torch.Tensor
    levels_nr: torch.Tensor

    def select(self, chosen: NDArray[np.bool_]) -> "RatedSamples":
        """Some of the nodules, in the same order."""
        where = torch.from_numpy(np.flatnonzero(chosen))
        return RatedSamples(
            [self.names[number] for number in where],
            [self.patients[number] for number in where],
            self.crops_n2xyz[where],
            self.measurements_nm[where],
            self.levels_nr[where],
        )


def read_samples(manifest: Manifest, scales: Sequence[RatingScale], crop: RatingCrop) -> RatedSamples:
    """Reads the largest nodule of every case.

    Raises:
        DatasetError: when the table lacks a rating.
        SegpipeError: naming every bad case at once.
    """
    _check_ratings(manifest, scales)
    read = partial(_read_nodule, labels=manifest.labels, crop=crop)
    nodules = [attempt(partial(read, entry), case=entry.id) for entry in manifest.entries]
    raise_together([one for one in nodules if isinstance(one, SegpipeError)], headline="nodules cannot be read")
    crops, rows = zip(*(one for one in nodules if not isinstance(one, SegpipeError)), strict=True)
    return RatedSamples(
        [entry.id for entry in manifest.entries],
        [entry.patient for entry in manifest.entries],
        torch.stack(crops),
        torch.stack(rows),
        torch.tensor([[_level(entry, scale) for scale in scales] for entry in manifest.entries]),
    )


def _read_nodule(entry: Entry, labels: Mapping[int, str], crop: RatingCrop) -> tuple[torch.Tensor, torch.Tensor]:
    case = load_lesions(entry, labels)
    if case.mask is None or not case.mask.any():
        raise DatasetError("a rated case must have a nodule in its mask", facts={"case": entry.id})
    components = find_components(case.mask)
    found = ClassComponents(NODULE, components, [1], [(1.0, 1.0)] * components.count)
    finding = measure_findings(case, [found])[0]
    seen = cut_crop(case, label_lesions(case.mask)[0] == 1, finding.centre_mm, crop)
    return torch.from_numpy(seen), torch.from_numpy(measurement_row(finding))


def _level(entry: Entry, scale: RatingScale) -> int:
    level = scale.level((entry.extra or {}).get(scale.name, np.nan))
    return MISSING if level is None else level


def _check_ratings(manifest: Manifest, scales: Sequence[RatingScale]) -> None:
    bare = [scale.name for scale in scales if all(_level(entry, scale) == MISSING for entry in manifest.entries)]
    if bare:
        raise DatasetError(
            "the data set's table must hold each rating",
            facts={"data set": manifest.name, "missing": ", ".join(bare)},
            hint="add columns with LIDC's scales to the table (data.table), or name fewer: ratings.names=[malignancy]",
        )
