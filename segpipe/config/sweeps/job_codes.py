"""The exit codes of a sweep's jobs, in a file each, since jobs may run in other processes and be killed."""

from pathlib import Path
from typing import NamedTuple

from segpipe.system.files.atomic_write import write_json
from segpipe.system.files.plain_files import read_json

_FOLDER = ".exit_codes"
_CUT_OFF = 1


class JobFailedError(Exception):
    """Lets Hydra's sweepers see that a job failed; why is in the job's log."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code


class JobEnd(NamedTuple):
    """How a job of a sweep ended: its number, its folder and its exit code, which is None until it comes to its end."""

    number: int
    folder: Path
    code: int | None = None


def begin_job(sweep: Path, job: JobEnd) -> int:
    """Notes that a job has begun; returns the exit code that it had before, if it was done before."""
    earlier = next((one.code for one in read_jobs(sweep) if one.number == job.number), None)
    note_job(sweep, job)
    return earlier or 0


def note_job(sweep: Path, job: JobEnd) -> None:
    """Notes how a job stands; of processes that train together the first one does."""
    from segpipe.system.processes.launched import this_rank  # which loads torch

    if this_rank() == 0:
        content = {"folder": str(job.folder), "code": job.code}
        (sweep / _FOLDER).mkdir(parents=True, exist_ok=True)
        write_json(sweep / _FOLDER / f"{job.number}.json", content, what="the exit code of a job", indent=None)


def read_jobs(sweep: Path) -> list[JobEnd]:
    """The jobs of a sweep that have begun, in the order of their numbers."""
    files = sorted((sweep / _FOLDER).glob("*.json"), key=lambda file: int(file.stem))
    contents = [(int(file.stem), read_json(file)) for file in files]
    return [JobEnd(number, Path(content["folder"]), content["code"]) for number, content in contents]


def worst_code(jobs: list[JobEnd]) -> int:
    """The exit code of the sweep as a whole; 1 where a job was cut off."""
    return max((_CUT_OFF if job.code is None else job.code for job in jobs), default=0)


def describe_failures(jobs: list[JobEnd]) -> str:
    """The jobs that failed, one line each; empty when none did.

    >>> print(describe_failures([JobEnd(0, Path("a/0"), 0), JobEnd(1, Path("a/1"), 2), JobEnd(2, Path("a/2"))]))
    2 of 3 jobs failed:
      job 1  exit code 2  a/1
      job 2  was cut off  a/2
    """
    failed = [job for job in jobs if job.code != 0]
    ends = ["was cut off" if job.code is None else f"exit code {job.code}" for job in failed]
    lines = [f"  job {job.number}  {end}  {job.folder}" for job, end in zip(failed, ends, strict=True)]
    return "\n".join([f"{len(failed)} of {len(jobs)} jobs failed:", *lines] if failed else [])
