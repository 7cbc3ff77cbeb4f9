"""Gives cases names made by the tool: numbers that stay the same when more scans come, and say nothing of anybody."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

from segpipe.datasets.manifest import Entry
from segpipe.errors import DatasetError
from segpipe.io.dicom.series.description import SeriesInfo
from segpipe.system.files.atomic_write import write_text
from segpipe.system.files.csv_table import csv_text
from segpipe.system.files.plain_files import read_json

_REGISTRY = Path(".done", "names.json")
_COLUMNS = ("patient_id", "study_uid", "series_uid", "folder", "name")
_TELLING = re.compile(r"\d+(\.\d+){4,}|(?<!\d)(19|20)\d\d[-_.]?(0[1-9]|1[0-2])[-_.]?(0[1-9]|[12]\d|3[01])(?!\d)|\^")


@dataclass(frozen=True)
class CaseName:
    """The tool's own names of a case and its patient."""

    case: str
    patient: str


@dataclass(frozen=True)
class Origin:
    """Where a case comes from; none of it enters a data set.

    Args:
        digest: Distinguishes cases, and proves to who knows the case's UID which one it was, without naming it.
        person: Whose scan it is.
        identity: Values of the columns patient_id, study_uid, series_uid, folder and name, as far as known.
    """

    digest: str
    person: str = field(repr=False)
    identity: Mapping[str, str] = field(repr=False)


def origin_of(series: SeriesInfo) -> Origin:
    """The origin of a DICOM series; its digest counts one slice too, since a series can hold two scans."""
    identity = series.identity
    return Origin(
        digest=digest_of(identity.series_uid, min(plane.uid for plane in series.planes)),
        person=identity.patient_id or identity.study_uid,
        identity={
            "patient_id": identity.patient_id,
            "study_uid": identity.study_uid,
            "series_uid": identity.series_uid,
            "folder": str(series.files[0].path.parent),
        },
    )


def origins_of(series: Sequence[SeriesInfo]) -> list[Origin]:
    """The origins of DICOM series; two patients whose series and slices have the same UIDs are distinguished, too."""
    origins = list(map(origin_of, series))
    count = Counter(origin.digest for origin in origins)
    return [
        origin if count[origin.digest] == 1 else replace(origin, digest=digest_of(origin.digest, *one.identity.person))
        for origin, one in zip(origins, series, strict=True)
    ]


def rename_cases(entries: Sequence[Entry], dataset: Path, *, keep_ids: bool = False) -> tuple[Entry, ...]:
    """The same cases under names made by the tool, for those whose own names may reveal a person.

    Raises:
        DatasetError: when the hidden file of `name_cases` is damaged.
        OutputError: when a file cannot be written.
    """
    origins = [
        Origin(digest_of(entry.id), entry.patient, {"folder": str(entry.image.parent), "name": entry.id})
        for entry in entries
    ]
    names = name_cases(origins, dataset, keep_ids=keep_ids)
    return tuple(replace(entry, id=name.case, patient=name.patient) for entry, name in zip(entries, names, strict=True))


def names_a_person(name: str) -> bool:
    """Whether a name holds a DICOM UID, a date or a name as DICOM writes it.

    >>> [names_a_person(name) for name in ("1.2.840.113619.2.55", "ct_19500101", "DOE^JOHN", "LIDC-IDRI-0001")]
    [True, True, True, False]
    """
    return _TELLING.search(name) is not None


def digest_of(*parts: str) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def name_cases(origins: Sequence[Origin], dataset: Path, *, keep_ids: bool = False) -> list[CaseName]:
    """Numbers cases and patients in the order of `origins`; those of earlier calls keep their numbers.

    What is kept for that are digests, in a hidden file that only its owner can read. With `keep_ids` who is who is
    written to `<data set>.ids.csv` next to the data set, readable by its owner alone.

    Raises:
        DatasetError: when the hidden file is damaged.
        OutputError: when a file cannot be written.
    """
    known = _read(dataset / _REGISTRY)
    patients = {origin.person: known[origin.digest].patient for origin in origins if origin.digest in known}
    new_cases = _numbers_after(name.case for name in known.values())
    new_patients = _numbers_after(name.patient for name in known.values())
    for origin in origins:
        if origin.digest in known:
            continue
        if origin.person not in patients:
            patients[origin.person] = f"patient_{next(new_patients):04d}"
        known[origin.digest] = CaseName(f"case_{next(new_cases):04d}", patients[origin.person])
    content = {digest: [name.case, name.patient] for digest, name in known.items()}
    write_private(dataset / _REGISTRY, json.dumps(content, indent=0))
    names = [known[origin.digest] for origin in origins]
    if keep_ids:
        _write_identities(origins, names, dataset.with_name(f"{dataset.name}.ids.csv"))
    return names


def write_private(file: Path, text: str) -> Path:
    """Writes a file that only its owner can read, under a temporary name first.

    Raises:
        OutputError: when it cannot be written.
    """
    return write_text(file, text, what="the file", private=True)


def _write_identities(origins: Sequence[Origin], names: Sequence[CaseName], file: Path) -> None:
    rows = [
        {"case": name.case, "patient": name.patient, **{column: origin.identity.get(column, "") for column in _COLUMNS}}
        for origin, name in zip(origins, names, strict=True)
    ]
    write_private(file, csv_text(rows, ("case", "patient", *_COLUMNS)))


def _read(file: Path) -> dict[str, CaseName]:
    try:
        content = read_json(file) if file.exists() else {}
        return {digest: CaseName(*names) for digest, names in content.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise DatasetError(
            "the list of known cases is damaged",
            facts={"file": file, "found": type(error).__name__},
            hint="delete the data set folder and ingest again",
        ) from error


def _numbers_after(names: Iterable[str]) -> Iterator[int]:
    return count(max((int(name.rpartition("_")[2]) for name in names), default=0) + 1)
