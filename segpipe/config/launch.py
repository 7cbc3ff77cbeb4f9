"""Hands the command line to Hydra, which makes the run folder and the log, and runs a job once or as a sweep."""

import logging
import os
import sys
from argparse import ArgumentError, Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import NamedTuple

import hydra._internal.hydra as hydra_application
from hydra import version
from hydra._internal.utils import _run_hydra, get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from segpipe.config.check import Registries
from segpipe.config.compose import HYDRA, CheckedLoader
from segpipe.config.credentials import words_without_credentials
from segpipe.config.folder import conf_folder
from segpipe.config.folder_request import FolderChoice, Placing
from segpipe.config.foreign_parts import with_foreign_parts
from segpipe.config.overrides import reason_of
from segpipe.config.plan import with_plans
from segpipe.config.sweeps.job_codes import (
    JobEnd,
    JobFailedError,
    begin_job,
    describe_failures,
    note_job,
    read_jobs,
    worst_code,
)
from segpipe.errors import ConfigError, SegpipeError, explain
from segpipe.spelling import nearest
from segpipe.system.processes.stopping import Stopped

log = logging.getLogger(__name__)
_LOADER = "ConfigLoaderImpl"


class JobResult(NamedTuple):
    """What a job gives back: its exit code, and the figure by which a sweeper compares it with others.

    The exit code of a job that was done before is None, and stays what it was.
    """

    exit_code: int | None
    objective: float | None = None


Job = Callable[[DictConfig, Path, Path | None], JobResult]


def launch(
    argv: Sequence[str],
    job: Job,
    registries: Callable[[], Registries],
    *,
    choose_folder: FolderChoice | None = None,
    holds: bool = True,
) -> int:
    """Runs `job` once, or once for each choice of a sweep, or shows what a flag asks for; returns the exit code.

    Args:
        argv: Overrides and Hydra's flags.
        job: Takes the composed configuration, the run folder and, in a sweep, the sweep's folder.
        registries: Gives the parts that sections may name.
        choose_folder: Decides on the folder of a run or a sweep; by default Hydra does.
        holds: Whether this process keeps others out of that folder until the end.

    Raises:
        ConfigError: for mistakes on the command line, before any work.
    """
    words = words_without_credentials(argv)
    flags = _read_flags(words)
    sys.argv[1:] = words_without_credentials(sys.argv[1:])  # which libraries may log
    flags.overrides = with_foreign_parts(flags.overrides, registries())
    task, placing = _Task(job), Placing(choose_folder, holds=holds) if choose_folder else None
    try:
        with placing.held if placing else nullcontext(), _checked(flags, registries, placing):
            _run_hydra(flags, get_args_parser(), task, flags.config_path or str(conf_folder()), "config")
    except Stopped as stop:
        stop.command = placing.words_to_resume(words) if placing else words
        raise
    except SystemExit as stop:  # after a flag that only shows something
        return 2 if stop.code else 0
    except JobFailedError as failed:
        task.exit_code = failed.exit_code
    except SegpipeError:
        raise
    except Exception as error:
        if task.started:
            raise
        if not _jobs(task, placing):
            raise ConfigError(
                "Hydra cannot do what the command line asks for", facts={"found": reason_of(error)}
            ) from error
        print(f"the launcher has given up: {reason_of(error)}", file=sys.stderr)
        task.exit_code = 1
    jobs = _jobs(task, placing)
    if holds and (failures := describe_failures(jobs)):
        print(failures, file=sys.stderr)
    return max(task.exit_code, worst_code(jobs))


class _Task:
    """What Hydra calls for each job, perhaps in another process; keeps the exit code of a run."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.started = False
        self.exit_code = 0
        self.sweep: Path | None = None

    def __call__(self, config: DictConfig) -> float | None:
        self.started = True
        run = HydraConfig.get()
        folder = Path(run.runtime.output_dir)
        if run.mode is RunMode.MULTIRUN:
            self.sweep = Path(run.sweep.dir)
            return self._run_noted(config, JobEnd(run.job.num, folder), self.sweep)
        try:
            result = self.job(config, folder, None)
        except SegpipeError as error:
            log.error("%s", explain(error))
            result = JobResult(error.exit_code)
        self.exit_code = result.exit_code or 0
        return result.objective

    def _run_noted(self, config: DictConfig, job: JobEnd, sweep: Path) -> float | None:
        """A job of a sweep, whose exit code is noted where the process that has begun the sweep finds it."""
        earlier, code = begin_job(sweep, job), None
        try:
            result = self.job(config, job.folder, sweep)
            code = earlier if result.exit_code is None else result.exit_code
        except SegpipeError as error:
            log.error("%s", explain(error))
            code = error.exit_code
            raise JobFailedError(code) from error
        except Exception as error:
            log.exception("job %s failed", job.number)
            code = 1
            raise JobFailedError(code) from error
        finally:
            note_job(sweep, job._replace(code=code))
        return result.objective


def _jobs(task: _Task, placing: Placing | None) -> list[JobEnd]:
    """The jobs of the sweep that have begun, here or elsewhere; none of a single run."""
    sweep = task.sweep or (placing.sweep if placing else None)
    return read_jobs(sweep) if sweep else []


def _read_flags(argv: Sequence[str]) -> Namespace:
    """Splits the words of a command line into overrides and flags with Hydra's own parser."""
    version.setbase(HYDRA)
    parser = get_args_parser()
    parser.exit_on_error = False
    try:
        flags, unknown = parser.parse_known_intermixed_args(argv)
    except ArgumentError as error:
        raise ConfigError(str(error), hint="python -m segpipe train --help") from error
    if unknown:
        near = nearest(unknown[0], parser._option_string_actions)
        raise ConfigError("unknown flags", facts={"found": " ".join(unknown)}, hint=near)
    if flags.experimental_rerun:
        raise ConfigError(
            "--experimental-rerun would run whatever code a pickle holds",
            hint="--config-path RUN_FOLDER --config-name config",
        )
    if flags.config_dir and not Path(flags.config_dir).is_dir():
        raise ConfigError("--config-dir: no such folder", facts={"found": flags.config_dir})
    if flags.config_path and not flags.config_path.startswith("pkg://"):
        flags.config_path = str(Path(flags.config_path).resolve())
    flags.overrides = with_plans(flags.overrides)
    return flags


@contextmanager
def _checked(flags: Namespace, registries: Callable[[], Registries], placing: Placing | None) -> Iterator[None]:
    """Lets Hydra load configurations with checks, for which it has no hook, and raise errors instead of printing."""
    before = getattr(hydra_application, _LOADER)
    os.environ["HYDRA_FULL_ERROR"] = "1"
    if not flags.shell_completion:  # which asks for the keys of half a command line
        place = None if flags.cfg or flags.info or flags.help else placing
        loader = partial(CheckedLoader, registries=registries, flags=flags, place=place)
        setattr(hydra_application, _LOADER, loader)
    try:
        yield
    finally:
        setattr(hydra_application, _LOADER, before)
