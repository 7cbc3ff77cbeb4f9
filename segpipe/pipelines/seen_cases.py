"""Which of the cases that somebody has a model has seen."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from operator import attrgetter
from pathlib import Path

from segpipe.case import Case
from segpipe.datasets.loading import load_case
from segpipe.datasets.manifest import Entry, read_manifest
from segpipe.errors import SegpipeError
from segpipe.export.model_folder import ModelFolder
from segpipe.export.seen_cases import Role, seen_by
from segpipe.inference.batch.scans import find_scans
from segpipe.preprocessing.scan_digest import scan_digest
from segpipe.system.processes.parallel_map import parallel_map


@dataclass(frozen=True)
class Asked:
    """A case that somebody has.

    Args:
        name: Of the case.
        read: Reads it.
    """

    name: str
    read: Callable[[], Case]


@dataclass(frozen=True)
class Answer:
    """What a model has seen of some cases.

    Args:
        roles: Case → its role, or None.
        counts: How many there are of each role, and `of` how many.
        errors: What is wrong with cases that cannot be read.
    """

    roles: dict[str, Role | None]
    counts: dict[str, int]
    errors: list[SegpipeError]


def ask(model: ModelFolder, path: Path) -> Answer:
    """Compares the scans of a path with those that a model lists.

    Args:
        model: A verified model folder.
        path: A data set folder, or scans as `predict` takes them.

    Raises:
        ModelError: when the model does not list any.
        SegpipeError: when there is nothing to ask for.
    """
    seen, cases = seen_by(model.about), _cases(path)
    outcomes = dict(parallel_map(_digest, cases, name=attrgetter("name"), title="reading", workers=0))
    read = {cases[index].name: found for index, found in sorted(outcomes.items()) if isinstance(found, str)}
    errors = [found for _, found in sorted(outcomes.items()) if isinstance(found, SegpipeError)]
    return Answer({name: seen.role_of(digest) for name, digest in read.items()}, seen.count(read.values()), errors)


def _cases(path: Path) -> Sequence[Asked]:
    if (path / "manifest.json").is_file():
        manifest = read_manifest(path)
        return [Asked(entry.id, partial(_read, entry)) for entry in manifest.entries]
    return [Asked(scan.name, scan.read_case) for scan in find_scans(path)]


def _read(entry: Entry) -> Case:
    return load_case(replace(entry, mask=None), {})


def _digest(asked: Asked) -> str:
    case = asked.read()
    return scan_digest(case.image, case.grid)
