"""Masks of any tool against reference masks: files paired by name, those that are alone named."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.case import Volume
from segpipe.errors import DatasetError, GeometryError, LabelError, SegpipeError
from segpipe.evaluation.comparison.case_table import read_case_table
from segpipe.evaluation.mask_pairs import MaskPair, MaskValues
from segpipe.evaluation.results import CaseResult
from segpipe.geometry import describe_apart
from segpipe.io.images.volumes import list_volumes, read_volume, volume_name
from segpipe.labels import whole_numbers


def pair_masks(
    predictions: Path, references: Path, *, table: Path | None = None, mask_name: str | None = None
) -> tuple[list[MaskPair], list[SegpipeError]]:
    """Pairs the mask files of two folders by name, without regard to the format.

    A folder may also hold a folder for each case, as TotalSegmentator writes them; then that is the name.

    Args:
        predictions: Folder of masks to evaluate.
        references: Folder of masks to compare them with.
        table: CSV with the columns `case` and `patient`; its other columns serve strata. Without it every case counts
            as a patient of its own.
        mask_name: Which file of such a case's folder counts, e.g. `lung_nodules`; may be left out where there is one.

    Returns:
        The pairs, by name, and the errors of files that are alone.

    Raises:
        DatasetError: when a folder has no masks, two files of a folder have one name, nothing fits, or the table
            cannot be used.
    """
    given, wanted = (_masks_by_name(folder, mask_name) for folder in (predictions, references))
    facts = read_case_table(table) if table else {}
    common = sorted(set(given) & set(wanted))
    if not common:
        raise DatasetError(
            "no prediction has the name of a reference",
            facts={"predictions": f"{predictions} ({_some(given)})", "references": f"{references} ({_some(wanted)})"},
            hint="name the masks of both folders after the case, e.g. LUNG_042.nii.gz",
        )
    pairs = []
    for name in common:
        row = dict(facts.get(name, {}))
        pairs.append(MaskPair(name, given[name], wanted[name], str(row.pop("patient", name)), row or None))
    return pairs, [*_alone(wanted, given, predictions, references), *_unknown(facts, common, table)]


def evaluate_mask_pair(pair: MaskPair, counted: MaskValues) -> CaseResult:
    """Reads both masks and compares them on the grid they share.

    Raises:
        GeometryError: when the masks are on different grids.
        LabelError: when a mask does not hold whole numbers.
        SegpipeError: when a file cannot be read.
    """
    reference, prediction = read_volume(pair.reference), read_volume(pair.prediction)
    if not reference.grid.matches(prediction.grid):
        raise GeometryError(
            "prediction and reference are not on the same grid",
            facts=describe_apart(prediction=prediction.grid, reference=reference.grid),
            hint="bring the prediction back to the scan's grid; segpipe evaluates nowhere else",
        )
    return counted.compare(pair, _whole(prediction), _whole(reference), reference.grid)


def _whole(volume: Volume) -> NDArray[np.generic]:
    array = whole_numbers(volume.array)
    if array is None:
        raise LabelError(
            "a mask must hold whole numbers",
            facts={"file": volume.source, "found": "fractions or NaN"},
            hint="give the thresholded mask, not probabilities",
        )
    return array


def _masks_by_name(folder: Path, mask_name: str | None) -> dict[str, Path]:
    if not folder.is_dir():
        raise DatasetError("the folder of masks must exist", facts={"folder": folder})
    files = [(volume_name(file), file) for file in list_volumes(folder)] or _in_case_folders(folder, mask_name)
    names = [name for name, _ in files]
    twice = sorted(name for name, times in Counter(names).items() if times > 1)
    if not files or twice:
        message = "two masks have the same name" if twice else "the folder has no masks"
        raise DatasetError(message, facts={"folder": folder, **({"names": ", ".join(twice[:8])} if twice else {})})
    return dict(files)


def _in_case_folders(folder: Path, mask_name: str | None) -> list[tuple[str, Path]]:
    found = []
    for inside in sorted(path for path in folder.iterdir() if path.is_dir()):
        files = [file for file in list_volumes(inside) if mask_name in (None, volume_name(file))]
        if len(files) > 1:
            raise DatasetError(
                "the folder of a case holds several masks",
                facts={"folder": inside, "found": ", ".join(file.name for file in files[:4])},
                hint=f"choose one of them, e.g. --mask-name {volume_name(files[0])}",
            )
        found += [(inside.name, file) for file in files]
    return found


def _alone(
    wanted: Mapping[str, Path], given: Mapping[str, Path], predictions: Path, references: Path
) -> list[SegpipeError]:
    missing = [
        DatasetError("a case has no prediction", facts={"case": name, "looked in": predictions})
        for name in sorted(set(wanted) - set(given))
    ]
    surplus = [
        DatasetError("a prediction has no reference", facts={"case": name, "looked in": references})
        for name in sorted(set(given) - set(wanted))
    ]
    return [*missing, *surplus]


def _unknown(facts: Mapping[str, Any], common: Sequence[str], table: Path | None) -> list[SegpipeError]:
    unknown = [name for name in common if name not in facts] if table else []
    return [
        DatasetError(
            "the table does not know every case; the others count as patients of their own",
            facts={"table": table, "cases": f"{len(unknown)}: {_some(unknown)}"},
        )
    ] * bool(unknown)


def _some(names: Mapping[str, Any] | Sequence[str]) -> str:
    shown = list(names)[:4]
    return ", ".join(shown) + (", …" if len(names) > len(shown) else "")
