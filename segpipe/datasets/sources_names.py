"""Gives series names made by the tool: numbers that stay the same when more scans come, and tell nothing of anybody."""

import csv
import hashlib
import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from segpipe.errors import DatasetError, OutputError
from segpipe.io.dicom_series import SeriesInfo

_REGISTRY = Path(".done", "series.json")
_COLUMNS = ("case", "patient", "patient_id", "study_uid", "series_uid", "folder")


@dataclass(frozen=True)
class CaseName:
    """The tool's own names of a case and its patient."""

    case: str
    patient: str


def name_series(series: Sequence[SeriesInfo], dataset: Path) -> list[CaseName]:
    """Numbers cases and patients in the order of `series`; those of earlier calls keep their numbers.

    What is kept for that are digests of series UIDs, in a hidden file that only its owner can read.

    Raises:
        DatasetError: when that file is damaged.
        OutputError: when it cannot be written.
    """
    known = _read(dataset / _REGISTRY)
    patients = {_person(info): known[series_digest(info)].patient for info in series if series_digest(info) in known}
    for info in series:
        if series_digest(info) in known:
            continue
        patients.setdefault(_person(info), f"patient_{_next(name.patient for name in _all(known, patients)):04d}")
        number = _next(name.case for name in known.values())
        known[series_digest(info)] = CaseName(f"case_{number:04d}", patients[_person(info)])
    content = {digest: [name.case, name.patient] for digest, name in known.items()}
    write_private(dataset / _REGISTRY, json.dumps(content, indent=0))
    return [known[series_digest(info)] for info in series]


def write_identities(series: Sequence[SeriesInfo], names: Sequence[CaseName], dataset: Path) -> Path:
    """Writes who is who to `<data set>.ids.csv` beside the data set, readable by its owner alone; returns the file."""
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(_COLUMNS)
    for info, name in zip(series, names, strict=True):
        identity = info.identity
        folder = info.files[0].path.parent
        table.writerow([name.case, name.patient, identity.patient_id, identity.study_uid, identity.series_uid, folder])
    return write_private(dataset.with_name(f"{dataset.name}.ids.csv"), text.getvalue())


def series_digest(info: SeriesInfo) -> str:
    """Tells series apart, and proves to who knows a series' UID which one it was, without naming it.

    It counts the series' UID and, since a series can hold two scans, that of one slice.
    """
    first = min(plane.uid for plane in info.planes)
    return hashlib.sha256(f"{info.identity.series_uid}\0{first}".encode()).hexdigest()


def write_private(file: Path, text: str) -> Path:
    """Writes a file that only its owner can read, under a temporary name first.

    Raises:
        OutputError: when it cannot be written.
    """
    part = file.with_name(f"{file.name}.{os.getpid()}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        part.unlink(missing_ok=True)
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
            stream.write(text)
        part.replace(file)
    except OSError as error:
        raise OutputError("the file cannot be written", facts={"file": file, "found": error}) from error
    return file


def _read(file: Path) -> dict[str, CaseName]:
    try:
        content = json.loads(file.read_text()) if file.exists() else {}
        return {digest: CaseName(*names) for digest, names in content.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise DatasetError(
            "the list of known series is damaged",
            facts={"file": file, "found": type(error).__name__},
            hint="delete the data set folder and ingest again",
        ) from error


def _person(info: SeriesInfo) -> str:
    return info.identity.patient_id or info.identity.study_uid


def _all(known: Mapping[str, CaseName], patients: Mapping[str, str]) -> list[CaseName]:
    return [*known.values(), *(CaseName("case_0000", patient) for patient in patients.values())]


def _next(names: Iterable[str]) -> int:
    return max((int(name.rpartition("_")[2]) for name in names), default=0) + 1
