"""The manifest: the list of cases of a data set, and nothing about any patient."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PureWindowsPath
from typing import Any, Literal

from segpipe.errors import DatasetError
from segpipe.preprocessing.cache.file_digests import file_digest
from segpipe.system.files.atomic_write import write_json
from segpipe.system.files.plain_files import read_json

FORMAT = "segpipe-manifest-1"
Role = Literal["train", "val", "test"]


@dataclass(frozen=True)
class Entry:
    """One case of a data set.

    Args:
        id: A name made by the tool; never a patient's.
        patient: Groups the cases of one patient, for splits.
        image: Scan file.
        mask: Mask file on the same grid, or None.
        split: The role that the data set itself fixes, or None.
        extra: Further plain facts, e.g. spacing, diameter, texture or malignancy; used by strata.
    """

    id: str
    patient: str
    image: Path
    mask: Path | None = None
    split: Role | None = None
    extra: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if not is_file_name(self.id):
            raise DatasetError(
                "a case must have a name that a file can have, since files are called by it",
                facts={"found": repr(self.id)[:80]},
                hint="use letters, digits, dots, dashes and underscores",
            )


def is_file_name(name: str) -> bool:
    """Whether a name leads nowhere but to a file of its folder, on every operating system.

    >>> [is_file_name(name) for name in ("LUNG_042", "a b.c", "ab:c", "", "..", "a/b", "C:a")]
    [True, True, True, False, False, False, False]
    """
    return name not in ("", ".", "..") and not set(name) & set("/\\\0\r\n") and not PureWindowsPath(name).drive


@dataclass(frozen=True)
class Manifest:
    """The cases of a data set.

    Args:
        name: Shown wherever figures appear, e.g. `phantom`.
        source: The kind of source it was made from, e.g. `phantom` or `nifti`.
        entries: The cases, in a fixed order.
        labels: Mask value → name.
    """

    name: str
    source: str
    entries: tuple[Entry, ...]
    labels: Mapping[int, str]

    def with_entries(self, entries: Sequence[Entry]) -> "Manifest":
        """The same data set with other entries."""
        return replace(self, entries=tuple(entries))


def read_manifest(path: Path) -> Manifest:
    """Reads `manifest.json` of a data set folder; relative paths count from that folder.

    Raises:
        DatasetError: when the file is missing, not JSON, of another format, garbled or without cases.
    """
    file = path / "manifest.json" if path.is_dir() else path
    if not file.is_file():
        raise DatasetError(
            "a data set folder must hold manifest.json",
            facts={"folder": path},
            hint="make one with: python -m segpipe ingest --source KIND --input DIR --output DATASET",
        )
    content = _load(file)
    try:
        rows = list(enumerate(content["cases"], start=1))
        labels = {int(value): str(name) for value, name in content["labels"].items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise DatasetError("the manifest is garbled", facts={"file": file, "found": error}) from error
    entries = tuple(entry_from_row(row, file.parent, where=f"{file}, entry {number}") for number, row in rows)
    _check_entries(entries, file)
    return Manifest(str(content["name"]), str(content["source"]), entries, labels)


def write_manifest(manifest: Manifest, folder: Path) -> Path:
    """Writes `manifest.json` into `folder`, with paths inside it made relative; returns the file."""
    rows = [row_of_entry(entry, folder) for entry in manifest.entries]
    content = {
        "format": FORMAT,
        "name": manifest.name,
        "source": manifest.source,
        "labels": {str(value): name for value, name in manifest.labels.items()},
        "cases": rows,
    }
    return write_json(folder / "manifest.json", content, what="the data set's manifest")


def data_hash(manifest: Manifest, digest_of: Callable[[Path], str] = file_digest) -> str:
    """First 16 hex digits of the SHA-256 over ids, patients and the content of all files; paths do not count.

    Args:
        manifest: The cases.
        digest_of: SHA-256 of a file's content, in hex; one that remembers it spares the reading.
    """
    digest = hashlib.sha256()
    for entry in sorted(manifest.entries, key=lambda entry: entry.id):
        digest.update(f"{entry.id}\0{entry.patient}\0".encode())
        for file in (entry.image, entry.mask):
            digest.update(digest_of(file).encode() if file else b"-")
    return digest.hexdigest()[:16]


def entry_from_row(row: Mapping[str, Any], folder: Path, *, where: str) -> Entry:
    """Reads an entry from plain data; relative paths count from `folder`.

    Raises:
        DatasetError: naming `where` it was found, when id, patient or image are missing.
    """
    try:
        mask = row.get("mask")
        return Entry(
            id=str(row["id"]),
            patient=str(row["patient"]),
            image=folder / row["image"],
            mask=folder / mask if mask else None,
            split=row.get("split"),
            extra=row.get("extra"),
        )
    except DatasetError as error:
        raise error.with_facts(where=where) from None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DatasetError(
            "an entry of the manifest must have id, patient and image", facts={"where": where, "found": error}
        ) from error


def row_of_entry(entry: Entry, folder: Path) -> dict[str, Any]:
    """An entry as plain data, with paths inside `folder` made relative."""
    row: dict[str, Any] = {"id": entry.id, "patient": entry.patient, "image": _relative(entry.image, folder)}
    if entry.mask:
        row["mask"] = _relative(entry.mask, folder)
    if entry.split:
        row["split"] = entry.split
    if entry.extra:
        row["extra"] = dict(entry.extra)
    return row


def _load(file: Path) -> dict[str, Any]:
    try:
        content = read_json(file)
    except (OSError, ValueError) as error:
        raise DatasetError("the manifest is not readable JSON", facts={"file": file, "found": error}) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        found = content.get("format") if isinstance(content, dict) else type(content).__name__
        raise DatasetError("the manifest has another format", facts={"file": file, "found": found, "known": FORMAT})
    missing = sorted({"name", "source", "labels", "cases"} - set(content))
    if missing:
        raise DatasetError("the manifest lacks keys", facts={"file": file, "missing": ", ".join(missing)})
    return content


def _check_entries(entries: Sequence[Entry], file: Path) -> None:
    if not entries:
        raise DatasetError("the data set is empty", facts={"file": file})
    seen: set[str] = set()
    twice = sorted({entry.id for entry in entries if entry.id in seen or seen.add(entry.id)})  # type: ignore[func-returns-value]
    if twice:
        raise DatasetError("case ids must be unique", facts={"file": file, "twice": ", ".join(twice[:8])})


def _relative(file: Path, folder: Path) -> str:
    file, folder = file.resolve(), folder.resolve()
    return str(file.relative_to(folder) if file.is_relative_to(folder) else file)
