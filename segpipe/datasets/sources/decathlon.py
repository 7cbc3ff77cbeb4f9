"""Makes data sets of Medical Segmentation Decathlon tasks and nnU-Net raw data sets, whose labels and splits stay."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from segpipe.datasets.ingested_cases import CaseJob, IngestResult, make_cases
from segpipe.datasets.manifest import Entry, Manifest, Role
from segpipe.datasets.sources.base import IngestRequest
from segpipe.datasets.sources.download import download
from segpipe.datasets.sources.image_files import take_in
from segpipe.errors import ConfigError, DatasetError
from segpipe.io.archives import unpack
from segpipe.io.images.volumes import list_volumes, volume_name
from segpipe.system.files.plain_files import read_json

Folds = Sequence[Mapping[str, Sequence[str]]]
_GARBLED = (OSError, ValueError, KeyError, TypeError, AttributeError, ArithmeticError)
_UNPACKED = ".unpacked"
_CHANNEL = re.compile(r"_(\d{4})$")
_ROLES: Mapping[str, tuple[str, str]] = {"train": ("imagesTr", "labelsTr"), "test": ("imagesTs", "labelsTs")}


@dataclass(frozen=True)
class Description:
    """What dataset.json says: mask value → name without background."""

    labels: Mapping[int, str]


def ingest_msd(request: IngestRequest) -> tuple[Manifest, IngestResult]:
    """Ingests a Decathlon task from its folder, its tar archive or, by `--download`, from its publisher."""
    root = _task_folder(_decathlon_input(request), request.output)
    return _ingest(request, root, "msd", folds=())


def ingest_nnunet(request: IngestRequest) -> tuple[Manifest, IngestResult]:
    """Ingests an nnU-Net raw data set; `splits_final.json` next to dataset.json or by `--splits` gives the folds."""
    assert request.input is not None
    splits = request.options["splits"] or request.input / "splits_final.json"
    fold = request.options["fold"]
    folds = _read_folds(splits) if splits.is_file() else ()
    if fold is not None and not 0 <= fold < len(folds):
        raise ConfigError(
            "--fold must be one of the folds of splits_final.json",
            facts={"found": fold, "folds": len(folds), "file": splits},
        )
    return _ingest(request, request.input, "nnunet", folds=folds)


def read_description(file: Path) -> Description:
    """Reads dataset.json in the Decathlon's form (value → name) or in nnU-Net's (name → value).

    Raises:
        DatasetError: when it is missing or damaged, or speaks of several channels, of regions or an ignore label.
    """
    try:
        content = read_json(file)
        channels = dict(content.get("channel_names") or content.get("modality") or {"0": "CT"})
        labels = _labels(content["labels"])
    except _GARBLED as error:
        raise DatasetError(
            "dataset.json cannot be read", facts={"file": file, "found": f"{type(error).__name__}: {error}"}
        ) from error
    if len(channels) != 1 or not re.search("CT", str(next(iter(channels.values()))), re.IGNORECASE):
        raise DatasetError(
            "a data set must have CT as its only channel",
            facts={"file": file, "channels": ", ".join(map(str, channels.values()))},
        )
    if not labels or "ignore" in labels.values():
        facts = {"file": file, "labels": ", ".join(labels.values()) or "none"}
        raise DatasetError("a data set must have foreground labels and no ignore label", facts=facts)
    return Description(labels)


def _labels(content: Mapping[str, Any]) -> dict[int, str]:
    if any(isinstance(value, list) for value in content.values()):
        raise ValueError("region-based labels are not supported")
    pairs = [(int(k), str(v)) if str(k).isdigit() else (int(v), str(k)) for k, v in content.items()]
    return {value: name for value, name in sorted(pairs) if value}


def _ingest(request: IngestRequest, root: Path, kind: str, *, folds: Folds) -> tuple[Manifest, IngestResult]:
    description = read_description(root / "dataset.json")
    fold = request.options.get("fold")
    entries = _with_splits(list(_entries(root)), folds, fold)
    copy = bool(request.options["copy"])
    jobs = [
        CaseJob(entry.id, _key(entry, copy), partial(take_in, entry, description.labels, copy=copy))
        for entry in entries
    ]
    made = make_cases(jobs, request.output, title=kind, workers=request.workers, shard=request.shard)
    unlabelled = _unlabelled(root)
    notes = (f"left out: a test scan without mask ({unlabelled})",) if unlabelled else ()
    manifest = Manifest(root.resolve().name, kind, made.entries, description.labels)
    return manifest, replace(made, notes=notes)


def _entries(root: Path) -> Iterator[Entry]:
    """Cases with a mask; those of imagesTs and labelsTs are held out."""
    for role, (images, masks) in _ROLES.items():
        if not (root / images).is_dir() or not (root / masks).is_dir():
            if role == "train":
                raise DatasetError("the data set must hold imagesTr and labelsTr", facts={"folder": root})
            continue
        scans = _by_case(root / images)
        drawn = {volume_name(file): file for file in list_volumes(root / masks)}
        lonely = sorted(set(scans) ^ set(drawn))
        if lonely:
            raise DatasetError(
                "each scan must have a mask of the same name",
                facts={"folder": root, "without the other": f"{len(lonely)}: " + ", ".join(lonely[:8])},
            )
        for case, scan in scans.items():
            yield Entry(case, case, scan, drawn[case], split="test" if role == "test" else None)


def _by_case(folder: Path) -> dict[str, Path]:
    """Case → scan; nnU-Net ends names with the number of the channel."""
    cases: dict[str, Path] = {}
    for file in list_volumes(folder):
        found = _CHANNEL.search(volume_name(file))
        if found and int(found[1]):
            raise DatasetError("a data set must have one channel", facts={"folder": folder, "found": file.name})
        cases[_CHANNEL.sub("", volume_name(file))] = file
    return cases


def _with_splits(entries: Sequence[Entry], folds: Folds, fold: int | None) -> list[Entry]:
    """Decides each case's fold and, for one `fold` or where test cases are held out, its role.

    The cases of the chosen fold are `val` where the data set has test cases of its own, else `test`.
    """
    number_of = {case: number for number, parts in enumerate(folds) for case in parts["val"]}
    has_test = any(entry.split == "test" for entry in entries)
    held_out: Role = "val" if has_test else "test"

    def role(entry: Entry) -> Role | None:
        if entry.split or (fold is None and not has_test):
            return entry.split
        return held_out if fold is not None and number_of.get(entry.id) == fold else "train"

    return [
        replace(
            entry,
            split=role(entry),
            extra={"fold": number_of[entry.id]} if entry.id in number_of else None,
        )
        for entry in entries
    ]


def _read_folds(file: Path) -> Folds:
    try:
        folds = read_json(file)
        return [{"train": list(fold["train"]), "val": list(fold["val"])} for fold in folds]
    except _GARBLED as error:
        raise DatasetError(
            "splits_final.json cannot be read", facts={"file": file, "found": type(error).__name__}
        ) from error


def _unlabelled(root: Path) -> int:
    """How many test scans have no mask at all, as in the Decathlon."""
    return (
        len(list_volumes(root / "imagesTs")) if (root / "imagesTs").is_dir() and not (root / "labelsTs").is_dir() else 0
    )


def _key(entry: Entry, copy: bool) -> str:
    files = [file for file in (entry.image, entry.mask) if file]
    return repr((entry, copy, [(file.stat().st_size, file.stat().st_mtime_ns) for file in files]))


def _decathlon_input(request: IngestRequest) -> Path:
    """The folder or archive to read, downloaded first when asked."""
    task: str | None = request.options["download"]
    if request.shard and (task or (request.input and request.input.is_file())):
        raise ConfigError(
            "shards need a task that is unpacked", hint="tar -xf Task06_Lung.tar, and give the folder as --input"
        )
    if task is None:
        if request.input is None:
            raise ConfigError("--input or --download must be given", facts={"source": "msd"})
        return request.input
    from monai.apps import DecathlonDataset

    if task not in DecathlonDataset.resource:
        raise ConfigError("unknown task", facts={"found": task, "known": ", ".join(DecathlonDataset.resource)})
    unpacked = request.output / "raw" / task
    if (unpacked / _UNPACKED).is_file():
        return unpacked
    archive = request.output / "raw" / f"{task}.tar"
    url, md5 = str(DecathlonDataset.resource[task]), str(DecathlonDataset.md5[task])
    return download(url, archive, md5=md5)


def _task_folder(given: Path, output: Path) -> Path:
    """The folder with dataset.json: the input itself, the only one below it, or unpacked from an archive."""
    if given.is_file():
        unpack(given, output / "raw", wanted=_is_used)
        roots = [file.parent for file in (output / "raw").glob("*/dataset.json")]
    else:
        roots = [file.parent for file in (given / "dataset.json", *given.glob("*/dataset.json")) if file.is_file()]
    if given not in roots and len(roots) != 1:
        facts = {"input": given, "found": f"{len(roots)} folders with dataset.json"}
        raise DatasetError("the input must be a Decathlon task", facts=facts, hint="name the task's own folder")
    root = given if given in roots else roots[0]
    if given.is_file() and given.parent == output / "raw":
        (root / _UNPACKED).touch()
        given.unlink()
    return root


def _is_used(member: str) -> bool:
    """Leaves out the test scans, which have no masks, and the files that macOS adds."""
    return not Path(member).name.startswith(".") and "imagesTs" not in Path(member).parts
