"""What Slurm says of the job that this process belongs to, and how the job gets back into the queue."""

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


def requeue_job() -> str:
    """Puts this job back into the queue, by which Slurm ends its processes; returns its number.

    Raises:
        ServiceError: when Slurm refuses.
    """
    job = os.environ["SLURM_JOB_ID"]  # of a task of an array its own number, too
    try:
        subprocess.run(["scontrol", "requeue", job], check=True, timeout=_PATIENCE_S, text=True, stderr=subprocess.PIPE)
    except (OSError, subprocess.SubprocessError) as error:
        raise ServiceError(
            "Slurm does not requeue the job",
            facts={"job": job, "found": (getattr(error, "stderr", None) or str(error)).strip()},
            hint="#SBATCH --requeue allows it; without it the job goes on by hand, in its folder, with resume=true",
        ) from error
    return job
