"""A pretraining: scans without outlines, fit, and weights that `init.from` takes; nothing is evaluated."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segpipe.config.schema import Settings
from segpipe.errors import ConfigError
from segpipe.pipelines.observers.observer import Observers
from segpipe.pipelines.observers.run_tracking import RunTracking
from segpipe.pipelines.single_run import begin_run, started
from segpipe.preprocessing.sampling import Sampling
from segpipe.system.files.atomic_write import write_json
from segpipe.system.processes.launched import follow_launcher, this_rank
from segpipe.system.processes.ranks import processes_part
from segpipe.system.processes.slurm import is_restarted
from segpipe.tracking.trackers import ask_tracker
from segpipe.training.callbacks import read_history
from segpipe.training.fitting import fit
from segpipe.training.hardware import check_compute
from segpipe.training.pretraining.restoration import RESTORATION
from segpipe.training.resuming.run_folders import PRETRAINED

log = logging.getLogger(__name__)


def run_pretraining(settings: Settings, config: Mapping[str, Any], folder: Path) -> int:
    """Trains a network to restore hidden blocks of scans, whether they have masks or not.

    Args:
        settings: The checked configuration, with a section `pretraining`.
        config: The same as plain data.
        folder: The run folder, which `init.from` of another run may then name.

    Returns:
        The exit code.

    Raises:
        ConfigError: when it is to be tried, cross-validated, or shown lesions, for which there must be outlines.
    """
    _check(settings)
    compute = check_compute(settings)
    log.info("%s: %s", settings.name, compute.describe())
    follow_launcher()
    if this_rank() == 0 and not is_restarted():
        ask_tracker(settings.tracking)
    run = begin_run(settings, config, folder)
    tracking = RunTracking.start(run) if this_rank() == 0 else None
    observers = Observers([tracking] if tracking else [])
    with processes_part(), observers, started(run, compute, observers):
        patches = run.data.patches(settings)
        fitted = fit(settings, patches, folder, provenance=run.provenance, log_metrics=observers.measured)
        if this_rank() == 0:
            errors = [point[RESTORATION.name] for point in read_history(folder) if RESTORATION.name in point]
            about = {**run.provenance, "steps": fitted.steps, "mean_squared_error": errors[-1] if errors else None}
            file = write_json(folder / PRETRAINED, about, what="the facts of the pretraining")
            if tracking:
                tracking.log_checkpoints(file)
            log.info("%s", _describe(folder, errors))
    return 0


def _check(settings: Settings) -> None:
    sampling: Sampling = settings.sampling
    wrong = {
        "check": settings.check,
        "data.fold": settings.data.fold,
        "sampling.lesion_fraction": sampling.lesion_fraction,
        "sampling.hard_negatives": sampling.hard_negatives,
    }
    on_outlines = sampling.lesion_fraction > 0 or sampling.hard_negatives > 0
    if settings.check or settings.data.fold == "all" or on_outlines:
        raise ConfigError(
            "a pretraining is one run without outlines, and nothing is evaluated in it",
            facts=wrong,
            hint="check=false data.fold=0 sampling=anywhere, or sampling=voi for crops",
        )


def _describe(folder: Path, errors: list[float]) -> str:
    error = f"{errors[-1]:.5f} (first {errors[0]:.5f})" if errors else "not measured"
    return "\n".join(
        [
            f"mean squared error of hidden voxels on validation patches  {error}",
            f"weights  {folder / 'checkpoints' / 'last.ckpt'}",
            f"go on    python -m segpipe +experiment=NAME data.root=LABELLED init.from={folder}",
        ]
    )
