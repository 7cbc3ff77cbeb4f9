"""Hydra's launcher for Slurm, which sees each job to its end, also one that was killed and without Slurm's accounts."""

import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import fields
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus
from hydra_plugins.hydra_submitit_launcher.config import BaseQueueConf
from hydra_plugins.hydra_submitit_launcher.submitit_launcher import SlurmLauncher as PlugIn

from segpipe.config.sweeps.job_codes import JobFailedError
from segpipe.system.processes.slurm import describe_end, is_queued
from segpipe.system.processes.stopping import Stopped, stoppable

if TYPE_CHECKING:
    import submitit

log = logging.getLogger(__name__)
_COMMON = {field.name for field in fields(BaseQueueConf)}
_AUTO = "auto"
_LATE_S = 15.0
"""How long a file may take to be seen on another machine."""


class SlurmLauncher(PlugIn):  # type: ignore[misc]
    """Sends the jobs of a sweep to Slurm as one array and waits for all of them.

    The plug-in's own waits with `sacct`, without which it never sees the end of a job that was killed, and gives up on
    all jobs with the first that fails.
    """

    def __call__(self, *job: Any) -> JobReturn:
        """Runs one job, in a process that Slurm has started."""
        try:
            with stoppable():
                result: JobReturn = super().__call__(*job)
                return result
        except Stopped as stop:
            sys.exit(stop.exit_code)  # which submitit does not take for a result

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """See Hydra; a job that failed or was killed is a result, too."""
        words = [list(overrides) for overrides in job_overrides]
        numbers = range(initial_job_idx, initial_job_idx + len(words))
        names = [f"job {number} ({own})" for number, own in zip(numbers, _differences(words), strict=True)]
        given = (words, repeat("hydra.sweep.dir"), numbers, map(str, numbers), repeat(Singleton.get_state()))
        jobs = self._executor().map_array(self, *given)
        for job, name in zip(jobs, names, strict=True):
            log.info("%s is Slurm's %s, its log %s", name, job.job_id, job.task(0).paths.stdout)
        try:
            return [_result(job.task(0), name, own) for job, name, own in zip(jobs, names, words, strict=True)]
        except Stopped:
            array = jobs[0].job_id.partition("_")[0]
            log.warning("the jobs stay in the queue: scancel %s ends them", array)
            raise

    def _executor(self) -> "submitit.AutoExecutor":
        import submitit

        settings = dict(self.params)
        if settings["tasks_per_node"] == _AUTO:
            settings["tasks_per_node"] = settings["gpus_per_node"] or 1
        executor = submitit.AutoExecutor(folder=settings.pop("submitit_folder"), cluster="slurm")
        executor.update_parameters(
            **{name if name in _COMMON else f"slurm_{name}": value for name, value in settings.items()}
        )
        return executor


def _differences(jobs: Sequence[Sequence[str]]) -> list[str]:
    """The words of each job that not all jobs have."""
    shared = set(jobs[0]).intersection(*jobs)
    return [" ".join(word for word in words if word not in shared) for words in jobs]


def _result(job: "submitit.Job[JobReturn]", name: str, words: Sequence[str]) -> JobReturn:
    """What a job gives back, of several processes the first one's."""
    from submitit.core.utils import UncompletedJobError

    _wait(job)
    try:
        if job.paths.result_pickle.exists():
            return job.result()
        reason = describe_end(job.job_id)
    except UncompletedJobError as error:
        reason = str(error)
    log.error("%s has no result: %s; its log: %s", name, reason, job.paths.stdout)
    result = JobReturn(overrides=words, status=JobStatus.FAILED)
    result.return_value = JobFailedError(1)
    return result


def _wait(job: "submitit.Job[JobReturn]") -> None:
    """Until the job has a result or is no longer in the queue; asks Slurm the more seldom the longer that takes."""
    started, asked = time.monotonic(), 0.0
    while not job.paths.result_pickle.exists():
        now = time.monotonic()
        if now - asked > min(60.0, (now - started) / 10):
            asked = now
            if not is_queued(job.job_id):
                return _wait_for_file(job.paths.result_pickle)
        time.sleep(1)
    return None


def _wait_for_file(file: Path) -> None:
    deadline = time.monotonic() + _LATE_S
    while not file.exists() and time.monotonic() < deadline:
        file.parent.stat()
        time.sleep(1)
