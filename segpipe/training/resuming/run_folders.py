"""The folder of a run or a sweep: made for it alone, or that of the earlier one of the same configuration."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from segpipe.config.folder_request import FolderRequest
from segpipe.errors import ConfigError, OutputError
from segpipe.system.files.held_folder import was_cut_off
from segpipe.system.files.plain_files import read_yaml
from segpipe.system.processes.launched import agree_on_folder, started_by_torchrun, step_name
from segpipe.system.processes.slurm import is_restarted, job_name
from segpipe.training.resuming.settings import CONFIG, compare_settings

PRETRAINED = "pretraining.json"
"""What a pretraining leaves at its end, which makes no model."""
_RESULTS = ("model/segpipe.json", PRETRAINED)
_SWEEP = "multirun.yaml"
_PASSING = ".check_"
_SHOWN = 3
_HINT = "leave out resume=true, or name the folder to go on in, or to begin: hydra.{key}.dir=FOLDER resume=true"


def choose_folder(request: FolderRequest, *, main: bool = True) -> Path:
    """The folder that a run or a sweep shall have.

    With `check` that is a folder that shall not stay, where the first one would be made; a sweep has no such folder.
    With `resume` that is the wanted folder where it is named or begun, else the newest sibling with the same settings;
    for a run an unfinished one, and one with the same rates and intervals before others. Of processes that torchrun
    starts together the first one chooses. In a Slurm job the folder is called by the job, as the clocks of its
    processes differ, and a job that Slurm has started again goes on in the folder that it had.

    Args:
        request: What is wanted.
        main: Whether this is the first process of a run, which makes the folder.

    Raises:
        ConfigError: when there is nothing to resume, the named folder holds another run, or a sweep is to be tried.
        OutputError: when the folder cannot be made.
    """
    choose = _choose_passing if request.check else _choose
    if not request.named and started_by_torchrun():
        return agree_on_folder(partial(choose, _in_job(request)) if main else None)
    return choose(_in_job(request), main=main)


def is_finished(folder: Path) -> bool:
    """Whether a run has come to its end and has a model, or the weights of a pretraining."""
    return any((folder / result).exists() for result in _RESULTS) and not was_cut_off(folder)


def _choose(request: FolderRequest, *, main: bool = True) -> Path:
    if request.resume and not (request.named or _is_begun(request.wanted)):
        return _find_sweep(request) if request.words else _find_run(request)
    if not main:
        return request.wanted
    if not request.resume and request.named and _is_begun(request.wanted):
        raise ConfigError(
            "the folder holds a run already",
            facts={"folder": request.wanted},
            hint="resume=true goes on with it; a new run needs another folder",
        )
    with _explained(request.wanted):
        return _make(request)


def _in_job(request: FolderRequest) -> FolderRequest:
    """Calls the folder by the Slurm job; one that several processes share alone, of others there may be several."""
    if not request.named and (name := job_name()):
        several = step_name() is not None
        request = replace(request, wanted=request.wanted.with_name(name), named=several and not request.resume)
    return _after_restart(request)


def _after_restart(request: FolderRequest) -> FolderRequest:
    if request.resume or not is_restarted():
        return request
    wanted = request.wanted
    others = [] if request.named else sorted(wanted.parent.glob(f"{wanted.name}_*"))
    begun = [folder for folder in (wanted, *others) if _is_begun(folder) and (request.named or _fits(request, folder))]
    return replace(request, wanted=begun[0], named=True, resume=True) if begun else request


def _choose_passing(request: FolderRequest, *, main: bool = True) -> Path:
    if request.words:
        raise ConfigError(
            "check=true tries one run, not a sweep",
            hint="leave out --multirun or +sweep, and give each key one of its values",
        )
    if request.wanted.name.startswith(_PASSING):
        return request.wanted  # the first process names it to those that it starts
    home = next(folder for folder in request.wanted.absolute().parents if folder.is_dir())
    own = "" if step_name() else f"_{os.getpid()}"  # processes that srun starts find the same one
    folder = home / f"{_PASSING}{request.wanted.name}{own}"
    if main:
        with _explained(folder):
            folder.mkdir(exist_ok=True)
    return folder


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(
            "the folder of the run cannot be made",
            facts={"folder": folder, "found": error.strerror or error},
            hint="start in a folder that you may write to, or name one: hydra.run.dir=FOLDER",
        ) from error


def _make(request: FolderRequest) -> Path:
    """Makes the wanted folder; a new one that was not named gets a number where others begin at once."""
    wanted = request.wanted
    wanted.parent.mkdir(parents=True, exist_ok=True)
    if request.named or request.resume:
        wanted.mkdir(exist_ok=True)
        return wanted
    for number in count(1):
        folder = wanted if number == 1 else wanted.with_name(f"{wanted.name}_{number}")
        try:
            folder.mkdir()
            break
        except FileExistsError:
            continue
    return folder


def _is_begun(folder: Path) -> bool:
    return (folder / CONFIG).exists() or (folder / _SWEEP).exists()


def _fits(request: FolderRequest, folder: Path) -> bool:
    """Whether a folder holds what is asked for: the same sweep, or a run with the same settings of what must stay."""
    begun = next((content for _, content in _newest_first(folder, _SWEEP if request.words else CONFIG)), None)
    if begun is None:
        return False
    if request.words:
        return _words(begun) == _without_resume(request.words)
    return not compare_settings(begun, request.content)[1]


def _find_run(request: FolderRequest) -> Path:
    others: dict[str, str] = {}
    found: list[tuple[bool, Path]] = []
    for folder, begun in _newest_first(request.wanted.parent, f"*/{CONFIG}"):
        if (folder / _SWEEP).exists():
            continue
        free, kept = compare_settings(begun, request.content)
        if kept:
            others[folder.name] = f"differs in {', '.join(change.key for change in kept)}"
        elif is_finished(folder):
            others[folder.name] = "is finished"
        else:
            found.append((bool(free), folder))
    if not found:
        raise _nothing("run", request, others)
    return min(found, key=lambda one: one[0])[1]


def _find_sweep(request: FolderRequest) -> Path:
    others: dict[str, str] = {}
    for folder, begun in _newest_first(request.wanted.parent, f"*/{_SWEEP}"):
        words = _words(begun)
        if words == _without_resume(request.words):
            return folder
        others[folder.name] = f"began with {' '.join(words)}"
    raise _nothing("sweep", request, others)


def _newest_first(runs: Path, files: str) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Folders with what they began with; one whose file cannot be read is left out."""
    for file in sorted(runs.glob(files), key=lambda file: file.stat().st_mtime, reverse=True):
        try:
            content = read_yaml(file)
        except (OSError, ValueError):
            continue
        if isinstance(content, Mapping):
            yield file.parent, content


def _words(begun: Mapping[str, Any]) -> list[str]:
    try:
        return _without_resume([str(word) for word in begun["hydra"]["overrides"]["task"]])
    except (KeyError, TypeError):
        return []


def _without_resume(words: Sequence[str]) -> list[str]:
    return [word for word in words if not word.startswith("resume=")]


def _nothing(kind: str, request: FolderRequest, others: Mapping[str, str]) -> ConfigError:
    same = "unfinished run of this configuration" if kind == "run" else "sweep of these words, in this order"
    return ConfigError(
        f"there is no {same} to resume",
        facts={"looked in": request.wanted.parent, **dict(list(others.items())[:_SHOWN])},
        hint=_HINT.format(key="run" if kind == "run" else "sweep"),
    )
