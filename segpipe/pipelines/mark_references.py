"""What marks can be compared with: LUNA16's own tables, or the reference masks and spheres of a data set."""

from collections.abc import Callable
from pathlib import Path

from segpipe.datasets.manifest import Entry, read_manifest
from segpipe.errors import ConfigError, DatasetError, SegpipeError
from segpipe.evaluation.marks.luna16 import read_luna16
from segpipe.evaluation.marks.reference import MarkReference, Spheres
from segpipe.io.images.volumes import read_volume
from segpipe.labels import lesion_value
from segpipe.lesions import find_components, measure_components

ReadReference = Callable[[Path], MarkReference]
Finding = tuple[int, tuple[float, ...], float]


def read_reference(kind: str, folder: Path) -> MarkReference:
    """Reads a reference for marks.

    Args:
        kind: One of `REFERENCES`.
        folder: LUNA16's tables, or a data set that `ingest` made.

    Raises:
        ConfigError: for another kind.
        DatasetError: when it cannot be read or holds no nodule.
    """
    if kind not in REFERENCES:
        raise ConfigError("unknown reference for marks", facts={"found": kind, "known": ", ".join(REFERENCES)})
    return REFERENCES[kind](folder)


def read_dataset_lesions(folder: Path) -> MarkReference:
    """The lesions of a data set's reference masks by centre and longest diameter; spheres as they were given.

    Cases without a mask are left out, since nobody knows what is in them.

    Raises:
        DatasetError: when the data set cannot be used or no mask holds a lesion.
        SegpipeError: naming the case whose mask cannot be read.
    """
    manifest = read_manifest(folder)
    value = lesion_value(manifest.labels)
    entries = [entry for entry in manifest.entries if entry.mask]
    findings = [finding for number, entry in enumerate(entries) for finding in _findings(entry, number, value)]
    if not findings:
        raise DatasetError("the data set must hold a lesion", facts={"folder": folder, "masks": len(entries)})
    names = tuple(entry.id for entry in entries)
    patients = tuple(entry.patient for entry in entries)
    return MarkReference(manifest.name, names, patients, Spheres.of(findings), Spheres.of([]))


def _findings(entry: Entry, number: int, value: int) -> list[Finding]:
    spheres = (entry.extra or {}).get("spheres")
    if spheres is not None:
        return [(number, tuple(sphere["centre_mm"]), float(sphere["diameter_mm"])) for sphere in spheres]
    assert entry.mask is not None
    try:
        volume = read_volume(entry.mask)
    except SegpipeError as error:
        raise error.with_facts(case=entry.id) from error
    lesions = measure_components(find_components(volume.array == value), volume.grid)
    return [(number, lesion.centre_mm, lesion.longest_diameter_mm) for lesion in lesions]


REFERENCES: dict[str, ReadReference] = {"luna16": read_luna16, "dataset": read_dataset_lesions}
