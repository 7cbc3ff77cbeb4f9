"""What Slurm says of a job, of the one that this process belongs to and of others, and how it is requeued."""

import os
import subprocess

from segpipe.errors import ServiceError

_PATIENCE_S = 60


def job_name() -> str | None:
    """What the job, and the step in it that `srun` has made, are called for folders; None outside of Slurm.

    It stays the same when the job is requeued.
    """
    names = [os.environ[name] for name in ("SLURM_JOB_ID", "SLURM_STEP_ID") if name in os.environ]
    return "_".join(["job", *names]) if "SLURM_JOB_ID" in os.environ else None


def is_restarted() -> bool:
    """Whether Slurm has started this job before: requeued by itself, by its user, or after a node had failed."""
    return int(os.environ.get("SLURM_RESTART_COUNT") or 0) > 0


def is_queued(job: str) -> bool:
    """Whether Slurm has a job, or a task of an array (`17_3`), to run still; also when Slurm does not answer."""
    found = subprocess.run(["squeue", "--noheader", "--format=%i", f"--jobs={job}"], capture_output=True, text=True)
    if found.returncode:
        return "Invalid job id" not in found.stderr  # which it is soon after its end
    return bool(found.stdout.strip())


def describe_end(job: str) -> str:
    """How a job ended, in Slurm's words, e.g. `TIMEOUT, exit code 0:15`."""
    found = subprocess.run(["scontrol", "--oneliner", "show", "job", job], capture_output=True, text=True)
    values = dict(word.partition("=")[::2] for word in found.stdout.split())
    if "JobState" not in values:
        return "Slurm does not know any more how it ended"
    return f"{values['JobState']}, exit code {values.get('ExitCode', 'unknown')}"


def requeue_job() -> str:
    """Puts this job back into the queue, by which Slurm ends its processes; returns its number.

    Raises:
        ServiceError: when Slurm refuses.
    """
    job = os.environ["SLURM_JOB_ID"]  # of a task of an array its own number, too
    try:
        done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, timeout=_PATIENCE_S)
        reason = done.stderr.strip() if done.returncode > 0 else None  # below 0 it was ended, too, by what it asked for
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = str(error)
    if reason is not None:
        raise ServiceError(
            "Slurm does not requeue the job",
            facts={"job": job, "found": reason},
            hint="#SBATCH --requeue allows it; without it the job goes on by hand, in its folder, with resume=true",
        )
    return job
