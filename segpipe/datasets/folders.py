"""A data set from folders of scans and masks of the same name, with patients and ratings from a table."""

import csv
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from segpipe.datasets.manifest import Entry, Manifest
from segpipe.errors import DatasetError
from segpipe.io.volumes import list_volumes, volume_name
from segpipe.labels import LabelMap

LAYOUTS = (("images", "masks"), ("imagesTr", "labelsTr"))
_CHANNEL = re.compile(r"_0000$")  # nnU-Net's name for the first channel
# Columns that may tell who a patient is or when and where a scan was made never enter a data set.
_PRIVATE_WORDS = frozenset(
    {"id", "ids", "uid", "name", "patient", "series", "study", "accession", "mrn", "path", "file", "x", "y", "z"}
    | {"date", "time", "birth", "birthday", "dob", "age", "sex"}
)


class Row(NamedTuple):
    """What a table tells about one case: the patient in the user's words and the numeric columns."""

    patient: str
    numbers: Mapping[str, float | int]


def find_cases(
    root: Path,
    *,
    table: str | None = None,
    case_column: str = "case",
    patient_column: str = "patient",
    label: str = "nodule",
) -> Manifest:
    """Pairs `images/` with `masks/` (or `imagesTr/` with `labelsTr/`) by file name.

    Case ids are the file names, which the user chose; patients are renamed `patient_0001`…, and of the table only
    numeric columns that cannot identify anybody are kept, so that nothing private leaves with a run.

    Args:
        root: The folder that holds both.
        table: CSV in `root` that tells each case's patient; without it every case is its own patient.
        case_column: The table's column with the file names (without ending).
        patient_column: The table's column with the patient.
        label: Name of the foreground label, value 1 in the masks.

    Raises:
        DatasetError: for missing folders or tables, images without mask or the reverse, or cases not in the table.
    """
    images, masks = _layout(root)
    pairs = _pair(_by_name(images), _by_name(masks), images, masks)
    rows = read_table(root / table, case_column=case_column, patient_column=patient_column) if table else None
    if rows is None:
        rows = {case: Row(case, {}) for case in pairs}
    _require_all(set(pairs), rows, table)
    names = name_patients([rows[case].patient for case in pairs])
    entries = [
        Entry(case, names[rows[case].patient], image, mask, extra=dict(rows[case].numbers) or None)
        for case, (image, mask) in pairs.items()
    ]
    return Manifest(root.resolve().name, "nifti", tuple(entries), LabelMap.of(label).names)


def name_patients(patients: list[str]) -> dict[str, str]:
    """The tool's own name for each patient, numbered in the sorted order of the names given.

    >>> name_patients(["Doe", "Abel", "Doe"])
    {'Abel': 'patient_0001', 'Doe': 'patient_0002'}
    """
    return {patient: f"patient_{number:04d}" for number, patient in enumerate(sorted(set(patients)), start=1)}


def read_table(file: Path, *, case_column: str, patient_column: str) -> dict[str, Row]:
    """Reads a CSV of cases.

    Returns:
        Case → patient and numbers.

    Raises:
        DatasetError: when the file or a column is missing, or a case is told twice.
    """
    rows = _read_rows(file, required=(case_column, patient_column))
    cases = [row[case_column].strip() for row in rows]
    twice = sorted({case for case in cases if cases.count(case) > 1}) if len(set(cases)) < len(cases) else []
    if twice:
        raise DatasetError("a table must tell each case once", facts={"table": file, "twice": ", ".join(twice[:8])})
    kept = [name for name in (rows[0] if rows else {}) if name not in (case_column, patient_column)]
    kept = [name for name in kept if not _private(name)]
    return {
        case: Row(row[patient_column].strip(), _numbers({name: row[name] for name in kept}))
        for case, row in zip(cases, rows, strict=True)
    }


def _layout(root: Path) -> tuple[Path, Path]:
    for images, masks in LAYOUTS:
        if (root / images).is_dir() and (root / masks).is_dir():
            return root / images, root / masks
    raise DatasetError(
        "a data folder must hold scans and masks",
        facts={"folder": root, "wanted": " or ".join(f"{images}/ and {masks}/" for images, masks in LAYOUTS)},
        hint="set data.root to such a folder",
    )


def _by_name(folder: Path) -> dict[str, Path]:
    names: dict[str, Path] = {}
    for file in list_volumes(folder):
        name = _CHANNEL.sub("", volume_name(file)) if folder.name == "imagesTr" else volume_name(file)
        if name in names:
            raise DatasetError(
                "each case must be one file", facts={"case": name, "files": f"{names[name].name}, {file.name}"}
            )
        names[name] = file
    return names


def _pair(
    images: Mapping[str, Path], masks: Mapping[str, Path], image_folder: Path, mask_folder: Path
) -> dict[str, tuple[Path, Path]]:
    if not images and not masks:
        raise DatasetError("the data set is empty", facts={"folder": image_folder})
    lonely_images, lonely_masks = sorted(set(images) - set(masks)), sorted(set(masks) - set(images))
    if lonely_images or lonely_masks:
        raise DatasetError(
            "each scan must have a mask of the same name",
            facts={
                f"only in {image_folder.name}/": _some(lonely_images),
                f"only in {mask_folder.name}/": _some(lonely_masks),
            },
            hint="a scan without any lesion needs a mask of zeros; predict takes scans without masks",
        )
    return {name: (images[name], masks[name]) for name in sorted(images)}


def _require_all(cases: set[str], rows: Mapping[str, Row], table: str | None) -> None:
    missing = sorted(case for case in cases if case not in rows or not rows[case].patient)
    if missing:
        raise DatasetError(
            "the table must tell the patient of every case",
            facts={"table": table, "missing": _some(missing)},
            hint="add rows, or name the right columns with data.case_column and data.patient_column",
        )


def _read_rows(file: Path, *, required: tuple[str, ...]) -> list[dict[str, str]]:
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, restval="")
            rows = [{key: value for key, value in row.items() if key is not None} for row in reader]
            columns = list(reader.fieldnames or [])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError("the table cannot be read", facts={"table": file, "found": error}) from error
    missing = [name for name in required if name not in columns]
    if missing:
        raise DatasetError(
            "the table lacks a column",
            facts={"table": file, "missing": ", ".join(missing), "columns": ", ".join(columns)},
            hint="name the columns with data.case_column and data.patient_column",
        )
    return rows


def _private(column: str) -> bool:
    """Splits `StudyDate` and `study_date` alike into words."""
    return not _PRIVATE_WORDS.isdisjoint(word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", column))


def _numbers(values: Mapping[str, str]) -> dict[str, float | int]:
    numbers: dict[str, float | int] = {}
    for name, text in values.items():
        try:
            number = float(text)
        except ValueError:
            continue
        if math.isfinite(number):
            numbers[name] = int(number) if number.is_integer() else number
    return numbers


def _some(names: list[str]) -> str:
    return f"{len(names)}: " + ", ".join(names[:8]) + (" …" if len(names) > 8 else "") if names else "none"
