"""The kinds of data that `ingest` understands, each a function from a request to a data set on disk."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from segpipe.datasets.manifest import Entry, Manifest
from segpipe.datasets.sources.parallel import IngestResult
from segpipe.errors import ConfigError
from segpipe.parts import Registry


@dataclass(frozen=True)
class IngestRequest:
    """What the user asked for.

    Args:
        output: The data set folder; files go below it, never elsewhere.
        input: What to read, for sources that read something.
        label: What the masks show: the name of value 1, or e.g. `1=solid,2=ground glass`.
        workers: Processes; None for one per core.
        options: Value of each flag of the source, by name.
    """

    output: Path
    input: Path | None = None
    label: str = "nodule"
    workers: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Flag:
    """A command line flag of a source; a default of False makes it a switch.

    Args:
        name: `cases` becomes `--cases`.
        text: For `--help`.
        default: When it is not given.
        kind: Turns the word into the value.
    """

    name: str
    text: str
    default: Any = None
    kind: Callable[[str], Any] = str


@dataclass(frozen=True)
class Source:
    """A kind of data.

    Args:
        text: One line for `--help`.
        read: Makes what is missing below `request.output` and returns the manifest (not written yet) and what became
            of the cases; bad cases are left out of the manifest and told in `Made.errors`.
        flags: Its own flags.
        needs_input: Whether `--input` must be given.
    """

    text: str
    read: Callable[[IngestRequest], tuple[Manifest, IngestResult]]
    flags: tuple[Flag, ...] = ()
    needs_input: bool = True


def _phantom(request: IngestRequest) -> tuple[Manifest, IngestResult]:
    from segpipe.datasets.phantom import make_phantom

    chosen = {name: request.options[name] for name in ("cases", "seed", "part_solid")}
    return make_phantom(request.output, workers=request.workers, **chosen)


def _nifti(request: IngestRequest) -> tuple[Manifest, IngestResult]:
    from segpipe.datasets.sources.folders import find_cases, find_listed_cases
    from segpipe.datasets.sources.parallel import CaseJob, make_cases
    from segpipe.labels import parse_names

    assert request.input is not None
    if request.input.is_file():
        found = find_listed_cases(request.input, names=parse_names(request.label))
    else:
        columns = {key: request.options[key] for key in ("table", "case_column", "patient_column")}
        found = find_cases(request.input, **columns, names=parse_names(request.label))
    copy = bool(request.options["copy"])
    found, notes = _named(found, request)
    jobs = [
        CaseJob(entry.id, _identity(entry, copy=copy), partial(take_in, entry, found.labels, copy=copy))
        for entry in found.entries
    ]
    made = make_cases(jobs, request.output, title="nifti", workers=request.workers)
    return replace(found, entries=made.entries), replace(made, notes=notes)


def _named(found: Manifest, request: IngestRequest) -> tuple[Manifest, tuple[str, ...]]:
    """Cases are called as their files, unless the user wants other names or those may tell of a person."""
    from segpipe.datasets.sources.case_names import names_a_person, rename_cases

    telling = sum(names_a_person(entry.id) for entry in found.entries)
    if not telling and not request.options["rename"]:
        unused = ("cases are called as their files, so --keep-ids has nothing to write; --rename calls them otherwise",)
        return found, unused if request.options["keep_ids"] else ()
    entries = rename_cases(found.entries, request.output, keep_ids=request.options["keep_ids"])
    why = f"{telling} of {len(entries)} names hold a UID, a date or a person's name, so " if telling else ""
    note = f"{why}cases are called {entries[0].id} …; --keep-ids writes who is who"
    beside = (
        () if request.options["copy"] else ("manifest.json still tells where the files are; --copy leaves that out",)
    )
    return replace(found, name=request.output.resolve().name, entries=entries), (note, *beside)


def _dicom(request: IngestRequest) -> tuple[Manifest, IngestResult]:
    from segpipe.datasets.sources.dicom import ingest_dicom

    return ingest_dicom(request)


def _nsclc(request: IngestRequest) -> tuple[Manifest, IngestResult]:
    from segpipe.datasets.sources.dicom import ingest_nsclc

    return ingest_nsclc(request)


def _lidc(request: IngestRequest) -> tuple[Manifest, IngestResult]:
    from segpipe.datasets.sources.lidc import ingest_lidc

    return ingest_lidc(request)


def _luna(request: IngestRequest) -> tuple[Manifest, IngestResult]:
    from segpipe.datasets.sources.luna import ingest_luna

    return ingest_luna(request)


def _msd(request: IngestRequest) -> tuple[Manifest, IngestResult]:
    from segpipe.datasets.sources.decathlon import ingest_msd

    return ingest_msd(request)


def _nnunet(request: IngestRequest) -> tuple[Manifest, IngestResult]:
    from segpipe.datasets.sources.decathlon import ingest_nnunet

    return ingest_nnunet(request)


def _sample(request: IngestRequest) -> tuple[Manifest, IngestResult]:
    from segpipe.datasets.sources.sample import ingest_sample

    return ingest_sample(request)


def take_in(entry: Entry, labels: Mapping[int, str], folder: Path, *, copy: bool) -> Entry:
    """Reads a case to be sure that it is good, and copies it as NIfTI (int16 HU, uint8) when asked.

    Raises:
        SegpipeError: for a bad case.
    """
    import numpy as np

    from segpipe.datasets.loading import load_case
    from segpipe.io.images.volumes import write_volume
    from segpipe.labels import lesion_value
    from segpipe.lesions import find_components

    case = load_case(entry, labels)
    facts: dict[str, Any] = {"spacing_mm": [round(mm, 4) for mm in case.grid.spacing_mm], "shape": case.grid.shape}
    if case.mask is not None:
        facts["lesions"] = find_components(case.mask == lesion_value(labels)).count
    entry = replace(entry, extra={**(entry.extra or {}), **facts})
    if not copy:
        return entry
    hu = np.clip(np.rint(case.image), -(2**15), 2**15 - 1).astype(np.int16)
    image = write_volume(folder / "images" / f"{entry.id}.nii.gz", hu, case.grid)
    mask = None
    if case.mask is not None:
        mask = write_volume(folder / "masks" / f"{entry.id}.nii.gz", case.mask, case.grid)
    return replace(entry, image=image, mask=mask)


def _identity(entry: Entry, *, copy: bool) -> str:
    """What an ingested case depends on: its files' names, sizes and times, and all that is known of it."""
    stats = [file.stat() for file in (entry.image, entry.mask) if file and file.exists()]
    return repr((entry, copy, [(stat.st_size, stat.st_mtime_ns) for stat in stats]))


_KEEP_IDS = Flag("keep_ids", "write who is who to DATASET.ids.csv, readable by its owner alone", default=False)
_REPAIR = Flag("repair", "mend these defects of series, e.g. missing,duplicate (uneven, tilt)")
_BORDER = Flag("contour_border", "whether pixel centres on a contour belong to it: include or exclude; see docs")
_COPY = Flag("copy", "copy scans into the data set as NIfTI instead of referring to them", default=False)

_SHIPPED: dict[str, Source] = {
    "phantom": Source(
        "generated thorax CTs with nodules, for first runs and tests",
        _phantom,
        flags=(
            Flag("cases", "how many", default=34, kind=int),
            Flag("seed", "another seed gives other patients", default=0, kind=int),
            Flag("part_solid", "tell solid parts (1) from ground glass (2), of which there is more", default=False),
        ),
        needs_input=False,
    ),
    "nifti": Source(
        "images/ and masks/ (or imagesTr/ and labelsTr/) with files of the same name, or a CSV with the columns image "
        "and mask; NIfTI, NRRD, MetaImage",
        _nifti,
        flags=(
            _COPY,
            Flag("rename", "call cases case_0001 … instead of by their files' names", default=False),
            _KEEP_IDS,
            Flag("table", "CSV in the input folder that tells each case's patient"),
            Flag("case_column", "its column with the file names", default="case"),
            Flag("patient_column", "its column with the patient", default="patient"),
        ),
    ),
    "dicom": Source(
        "any tree, zip or DICOMDIR: CT series and the RTSTRUCT or DICOM SEG files that refer to them",
        _dicom,
        flags=(
            Flag("roi", "pattern of region names, e.g. 'GTV.*', or several labels: 'tumour=GTV.*;lung=Lung.*'"),
            _REPAIR,
            _BORDER,
            _KEEP_IDS,
        ),
    ),
    "nsclc-radiomics": Source(
        "the NSCLC-Radiomics collection (LUNG1): GTV-1… as tumour, Lung L and Lung R as lung mask",
        _nsclc,
        flags=(_REPAIR, _BORDER, _KEEP_IDS),
    ),
    "lidc-idri": Source(
        "LIDC-IDRI: DICOM and the readers' XML; a mask per reader and their consensus",
        _lidc,
        flags=(
            Flag("xml", "folder of the readers' XML files, if not below the input", kind=Path),
            Flag("agreement", "share of the readers who must have marked a voxel", default=0.5, kind=float),
            _REPAIR,
            _KEEP_IDS,
        ),
    ),
    "luna16": Source(
        "LUNA16: mhd and raw files and annotations.csv; nodules are spheres and marked as such",
        _luna,
        flags=(Flag("annotations", "the CSV of nodules, if not INPUT/annotations.csv", kind=Path), _KEEP_IDS),
    ),
    "msd": Source(
        "a Medical Segmentation Decathlon task: its folder, its tar archive, or fetched by --download",
        _msd,
        flags=(Flag("download", "task to fetch from its publisher, e.g. Task06_Lung"), _COPY),
        needs_input=False,
    ),
    "nnunet": Source(
        "an nnU-Net raw data set with dataset.json; labels, test cases and folds are kept",
        _nnunet,
        flags=(
            Flag("splits", "splits_final.json, if not in the input folder", kind=Path),
            Flag("fold", "hold this fold of splits_final.json out", kind=int),
            _COPY,
        ),
    ),
    "sample": Source(
        "two real thorax CTs with tumour masks, fetched with pip from PyPI (pyradiomics 3.0.1, BSD-3-Clause)",
        _sample,
        needs_input=False,
    ),
}
SOURCES = Registry("source", _SHIPPED, group="segpipe.sources")


def working_sources() -> dict[str, Source]:
    """The shipped sources and those of plug-ins that can be imported; a broken one is explained where it is chosen."""
    sources: dict[str, Source] = dict(_SHIPPED)
    for name in SOURCES:
        with suppress(ConfigError):
            sources[name] = find_source(name)
    return sources


def find_source(name: str) -> Source:
    """The source of a name.

    Raises:
        ConfigError: when nobody registers it, or when the plug-in cannot be imported or is no source.
    """
    source = SOURCES[SOURCES.check_name({"name": name})]
    if not isinstance(source, Source):
        raise ConfigError(
            "a plug-in's source must be a segpipe.datasets.sources.registry.Source",
            facts={"source": name, "found": type(source).__name__},
        )
    return source
