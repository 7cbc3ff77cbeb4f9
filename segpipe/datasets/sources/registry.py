"""The kinds of data that `ingest` understands: shipped ones, and those of plug-ins."""

from argparse import ArgumentTypeError
from contextlib import suppress
from importlib import import_module
from pathlib import Path

from segpipe.datasets.ingested_cases import IngestResult
from segpipe.datasets.manifest import Manifest
from segpipe.datasets.sources.base import Flag, IngestRequest, Read, Source
from segpipe.errors import ConfigError
from segpipe.parts import Registry


def _phantom(request: IngestRequest) -> tuple[Manifest, IngestResult]:
    from segpipe.datasets.phantom import make_phantom
    from segpipe.datasets.phantom.population import PhantomKind

    options = request.options
    kind = PhantomKind(options["part_solid"], options["sizes"], not options["no_distractors"])
    return make_phantom(
        request.output, cases=options["cases"], seed=options["seed"], workers=request.workers, kind=kind
    )


def _sizes(word: str) -> str:
    if word not in ("large", "lidc"):
        raise ArgumentTypeError(f"must be large or lidc, found {word}")
    return word


def _reader(module: str, function: str) -> Read:
    """A function of a module next to this one, which is imported when it is called: `ingest --help` needs none."""

    def read(request: IngestRequest) -> tuple[Manifest, IngestResult]:
        chosen: Read = getattr(import_module(f"segpipe.datasets.sources.{module}"), function)
        return chosen(request)

    return read


_KEEP_IDS = Flag("keep_ids", "write who is who to DATASET.ids.csv, readable by its owner alone", default=False)
_REPAIR = Flag("repair", "mend these defects of series, e.g. missing,duplicate (uneven, tilt)")
_SEED = Flag("seed", "another seed gives other patients, or other nodules at other places", default=0, kind=int)
_PATIENTS = (
    Flag("table", "CSV in the folder of scans (of nodules) that names each case's patient"),
    Flag("case_column", "its column with the file names", default="case"),
    Flag("patient_column", "its column with the patient", default="patient"),
)
_BORDER = Flag("contour_border", "whether pixel centres on a contour belong to it: include or exclude; see docs")
_COPY = Flag("copy", "copy scans into the data set as NIfTI instead of referring to them", default=False)

_SHIPPED: dict[str, Source] = {
    "phantom": Source(
        "generated thorax CTs with nodules, for first runs and tests",
        _phantom,
        flags=(
            Flag("cases", "how many", default=34, kind=int),
            _SEED,
            Flag("part_solid", "say solid parts (1) from ground glass (2), of which there is more", default=False),
            Flag("sizes", "of the nodules: lidc, as patients have them, or large", default="lidc", kind=_sizes),
            Flag("no_distractors", "no scars, mucus, fissures and what else is taken for nodules", default=False),
        ),
        needs_input=False,
    ),
    "nifti": Source(
        "images/ and masks/ (or imagesTr/ and labelsTr/) with files of the same name, or a CSV with the columns image "
        "and mask; NIfTI, NRRD, MetaImage",
        _reader("nifti", "ingest_nifti"),
        flags=(
            _COPY,
            Flag("rename", "call cases case_0001 … instead of by their files' names", default=False),
            _KEEP_IDS,
            *_PATIENTS,
        ),
    ),
    "dicom": Source(
        "any tree, zip or DICOMDIR: CT series and the RTSTRUCT or DICOM SEG files that refer to them",
        _reader("dicom", "ingest_dicom"),
        flags=(
            Flag("roi", "pattern of region names, e.g. 'GTV.*', or several labels: 'tumour=GTV.*;lung=Lung.*'"),
            _REPAIR,
            _BORDER,
            _KEEP_IDS,
        ),
    ),
    "nsclc-radiomics": Source(
        "the NSCLC-Radiomics collection (LUNG1): GTV-1… as tumour, Lung L and Lung R as lung mask",
        _reader("dicom", "ingest_nsclc"),
        flags=(_REPAIR, _BORDER, _KEEP_IDS),
    ),
    "lidc-idri": Source(
        "LIDC-IDRI: DICOM and the readers' XML; a mask per reader and their consensus",
        _reader("lidc", "ingest_lidc"),
        flags=(
            Flag("xml", "folder of the readers' XML files, if not below the input", kind=Path),
            Flag("agreement", "share of the readers who must have marked a voxel", default=0.5, kind=float),
            _REPAIR,
            _KEEP_IDS,
        ),
    ),
    "luna16": Source(
        "LUNA16: mhd and raw files and annotations.csv; nodules are spheres and marked as such",
        _reader("luna", "ingest_luna"),
        flags=(Flag("annotations", "the CSV of nodules, if not INPUT/annotations.csv", kind=Path), _KEEP_IDS),
    ),
    "msd": Source(
        "a Medical Segmentation Decathlon task: its folder, its tar archive, or fetched by --download",
        _reader("decathlon", "ingest_msd"),
        flags=(Flag("download", "task to fetch from its publisher, e.g. Task06_Lung"), _COPY),
        needs_input=False,
    ),
    "nnunet": Source(
        "an nnU-Net raw data set with dataset.json; labels, test cases and folds are kept",
        _reader("decathlon", "ingest_nnunet"),
        flags=(
            Flag("splits", "splits_final.json, if not in the input folder", kind=Path),
            Flag("fold", "hold this fold of splits_final.json out", kind=int),
            _COPY,
        ),
    ),
    "implanted": Source(
        "real nodules (--nodules) put into the lungs of another data set (--input), with known truth",
        _reader("implanted", "ingest_implanted"),
        flags=(
            Flag("nodules", "data set of nodules with masks, or a folder with images/ and masks/", kind=Path),
            *_PATIENTS,
            Flag("copies", "versions of each host", default=10, kind=int),
            Flag("per_scan", "nodules in each version", default=6, kind=int),
            Flag("healthy", "share of the versions that get none", default=0.2, kind=float),
            _SEED,
        ),
    ),
    "sample": Source(
        "two real thorax CTs with tumour masks, fetched with pip from PyPI (pyradiomics 3.0.1, BSD-3-Clause)",
        _reader("sample", "ingest_sample"),
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
            "a plug-in's source must be a segpipe.datasets.sources.base.Source",
            facts={"source": name, "found": type(source).__name__},
        )
    return source
