"""What a predicted scan leaves in the output folder: mask and findings in the formats asked for."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.case import Case
from segpipe.errors import ConfigError, OutputError, SegpipeError
from segpipe.export.model_folder import ModelFolder
from segpipe.inference.batch.scans import Scan
from segpipe.inference.follow_up.comparing import FollowUp
from segpipe.inference.predictor import Prediction
from segpipe.inference.window.uncertainty_maps import STEPS
from segpipe.io.images.volumes import write_steps, write_volume
from segpipe.system.case_errors import attempt
from segpipe.system.files import atomic_write
from segpipe.system.files.csv_table import csv_text

TABLE = "findings.csv"
MAPS = "uncertainty"
EXPLANATIONS = "explanation"
UNITS = {
    "entropy": "bits, of the mean foreground probability p of the answers: -p log2 p - (1 - p) log2 (1 - p)",
    "mutual_information": "bits: the entropy less the mean over the answers of their own entropies",
}
FRAME = "centre_mm is RAS+ (as in NIfTI and --at), centre_lps_mm is LPS+ (patient coordinates of DICOM)"

_POSITIONS = {"centre": "centre_mm", "lps": "centre_lps_mm"}
_MEASURES = (
    "volume_mm3",
    "longest_diameter_mm",
    "mean_probability",
    "max_probability",
    "axial_diameter_mm",
    "perpendicular_diameter_mm",
    "equivalent_diameter_mm",
    "mean_hu",
    "solid_fraction",
    "side",
    "slice_index",
    "slice_number",
)
_LATER_MEASURES = (
    "mean_diameter_mm",
    "nodule_type",
    "solid_axial_diameter_mm",
    "solid_perpendicular_diameter_mm",
    "solid_mean_diameter_mm",
    "p5_hu",
    "median_hu",
    "p95_hu",
    "zone",
    "slice_count",
    "slice_spacing_mm",
    "slice_note",
    "cut_by",
)
"""They stand after all others, so that a table keeps its first columns."""


@dataclass(frozen=True, eq=False)
class Result:
    """A predicted scan, as writers of output formats get it.

    Args:
        scan: Its name and, for DICOM, its series.
        case: The scan itself.
        prediction: Mask and findings on the scan's own grid.
        model: The model folder that made it.
        settings: Everything that the result depends on apart from the scan.
        follow_up: What became of its lesions since an earlier scan, where one was given and can be aligned.
    """

    scan: Scan
    case: Case
    prediction: Prediction
    model: ModelFolder
    settings: Mapping[str, Any]
    follow_up: FollowUp | None = None


Writer = Callable[[Result, Path], Sequence[Path]]
"""Writes the files of one result into a folder, each under a temporary name first, and returns them."""


def write_mask(result: Result, folder: Path) -> list[Path]:
    """Writes NAME.nii.gz: the mask on the scan's own grid; further maps go to uncertainty/ and explanation/."""
    name, found, grid = result.scan.name, result.prediction, result.case.grid
    mask = write_volume(folder / f"{name}.nii.gz", found.mask, grid)
    maps = found.uncertainty
    volumes = {"entropy": maps.entropy, "mutual_information": maps.information} if maps else {}
    # not next to the masks: whoever evaluates a folder of masks takes every image in it for one
    unsure = [_write_bits(result, folder / MAPS, kind, steps) for kind, steps in volumes.items()]
    shown = [folder / EXPLANATIONS / f"{name}.{one.name}.nii.gz" for one in found.explanations]
    for file, one in zip(shown, found.explanations, strict=True):
        write_volume(file, one.volume, grid)
    return [mask, *unsure, *shown]


def _write_bits(result: Result, folder: Path, name: str, steps: NDArray[np.uint8]) -> Path:
    file = folder / f"{result.scan.name}.{name}.nii.gz"
    return write_steps(file, steps, result.case.grid, step=1 / STEPS)


def write_findings(result: Result, folder: Path) -> list[Path]:
    """Writes NAME.json: what was done to which grid, and the findings."""
    explained = result.prediction.explanations
    content = {
        "format": "segpipe-findings-1",
        "scan": result.scan.name,
        "grid": {"shape": list(result.case.grid.shape), "affine_ras_mm": result.case.grid.affine.tolist()},
        "frames": FRAME,
        **result.settings,
        **({"uncertainty": UNITS} if result.prediction.uncertainty else {}),
        **({"explanations": {one.name: one.unit for one in explained}} if explained else {}),
        "findings": [finding.to_dict() for finding in result.prediction.findings],
    }
    return [write_text(folder / f"{result.scan.name}.json", json.dumps(content, indent=1) + "\n")]


def write_follow_up(result: Result, folder: Path) -> list[Path]:
    """Writes NAME.follow_up.json: what became of each lesion since the earlier scan; nothing where none is aligned."""
    if result.follow_up is None:
        return []
    text = json.dumps(result.follow_up.to_dict(), indent=1) + "\n"
    return [write_text(folder / f"{result.scan.name}.follow_up.json", text)]


WRITERS: dict[str, Writer] = {"nifti": write_mask, "json": write_findings}


def write_files(result: Result, writers: Mapping[str, Writer], folder: Path) -> tuple[list[Path], list[SegpipeError]]:
    """Writes all formats of a result; one that cannot be made of it costs that format alone.

    Returns:
        The files, and an error for each format that failed.

    Raises:
        OutputError: when a file cannot be written, which would meet the other formats and results as well; those
            already written are removed again.
    """
    files: list[Path] = []
    errors: list[SegpipeError] = []
    try:
        for name, write in writers.items():
            made = attempt(partial(write, result, folder), format=name)
            if isinstance(made, OutputError):
                raise made
            if isinstance(made, SegpipeError):
                errors.append(made)
            else:
                files.extend(made)
    except BaseException:
        for file in files:
            file.unlink(missing_ok=True)
        raise
    return files, errors


def write_table(folder: Path, findings: Mapping[str, Sequence[Mapping[str, Any]]]) -> Path:
    """Writes findings.csv: one row per finding of all scans, scan by scan.

    Args:
        folder: The output folder.
        findings: Scan name → its findings as plain data.
    """
    rows = [finding_row(name, finding) for name, several in findings.items() for finding in several]
    positions = [f"{prefix}_{axis}_mm" for prefix in _POSITIONS for axis in "xyz"]
    columns = ["scan", "lesion", *_MEASURES, *positions, "class", *_LATER_MEASURES]
    return write_text(folder / TABLE, csv_text(rows, columns))


def finding_row(scan: str, finding: Mapping[str, Any]) -> dict[str, Any]:
    """A finding as one row: six digits are more than a scan can give, and positions get a column per axis."""
    row: dict[str, Any] = {"scan": scan, "lesion": finding["number"]}
    for name in (*_MEASURES, *_LATER_MEASURES):
        value = finding.get(name)  # an earlier version recorded fewer
        row[name] = f"{value:.6g}" if isinstance(value, float) else value
    for prefix, name in _POSITIONS.items():
        row |= {f"{prefix}_{axis}_mm": f"{value:.3f}" for axis, value in zip("xyz", finding[name], strict=True)}
    numbers = {**(finding.get("uncertainty") or {}), **_reliability_columns(finding.get("reliability") or {})}
    later = {**_rating_columns(finding.get("ratings", {})), **_six_digits(numbers)}
    return {**row, "class": finding.get("label", ""), **later}


def _reliability_columns(known: Mapping[str, Any]) -> dict[str, Any]:
    renamed = {"confidence": "calibrated_confidence", "refer": "refer_to_human"}
    return {renamed.get(name, name): value for name, value in known.items()}


def _six_digits(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: f"{value:.6g}" if isinstance(value, float) else value for name, value in values.items()}


def _rating_columns(ratings: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    for name, rating in ratings.items():
        columns[f"rating_{name}"] = rating["grade"]
        columns[f"rating_{name}_confidence"] = f"{rating['confidence']:.3f}"
    return columns


def choose_writers(names: Sequence[str], known: Mapping[str, Writer]) -> dict[str, Writer]:
    """The writers of the formats `names`; `csv` has none, since its table is written once for all scans.

    Raises:
        ConfigError: for an unknown format.
    """
    unknown = [name for name in names if name not in {*known, "csv"}]
    if unknown:
        raise ConfigError(
            "unknown output format", facts={"found": ", ".join(unknown), "known": ", ".join([*known, "csv"])}
        )
    return {name: known[name] for name in dict.fromkeys(names) if name != "csv"}


def write_text(file: Path, text: str) -> Path:
    """Writes a text file under a temporary name and renames it.

    Raises:
        OutputError: when it cannot be written.
    """
    hint = "make room on the disk, or choose another --output"
    return atomic_write.write_text(file, text, what="a result", hint=hint)
