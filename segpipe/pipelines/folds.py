"""The folds of a cross-validation: one after another, or side by side in processes of their own, each on one device."""

import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from segpipe.config.schema import Settings
from segpipe.errors import ConfigError, SegpipeError, raise_together
from segpipe.pipelines.single_run import run_single
from segpipe.system.processes.hardware import Compute
from segpipe.system.processes.launched import launch
from segpipe.system.processes.side_by_side import run_side_by_side
from segpipe.training.data.run_data import prepare_data
from segpipe.training.fitting import recipe_of
from segpipe.training.hardware import compute_of, on_one_device
from segpipe.training.run_result import RunResult

log = logging.getLogger(__name__)


def check_folds(settings: Settings) -> Compute:
    """What a cross-validation computes with; its folds are trained on one device each.

    Raises:
        ConfigError: when a launcher has started several processes, or for hardware that is not there.
    """
    compute, launched = compute_of(settings.trainer), launch()
    if compute.processes > 1 and launched:
        raise ConfigError(
            "a cross-validation in one command starts its processes itself, on one machine",
            facts={"data.fold": "all", f"{launched.by} started": f"{compute.processes} processes"},
            hint=f"start it without {launched.by}, or train folds as jobs of their own: data.fold=0,1,2,3,4 --multirun",
        )
    return compute


def run_folds(
    settings: Settings, config: Mapping[str, Any], folder: Path, *, parent: str | None = None
) -> list[RunResult]:
    """Trains every fold, as many side by side as the configuration has devices.

    Args:
        settings: The checked configuration with `data.fold=all`.
        config: The same as plain data.
        folder: The folder that holds the folds' run folders.
        parent: The MLflow run that holds theirs.

    Raises:
        ConfigError: see `check_folds`.
        SegpipeError: when side by side some folds have failed, after the others are done.
    """
    compute, folds = check_folds(settings), settings.data.folds
    if compute.processes == 1:
        found: list[Any] = [_run_fold(settings, config, folder, parent, fold) for fold in range(folds)]
    else:
        found = _run_side_by_side(settings, config, folder, parent, devices=compute.devices)
    raise_together(
        [error for error in found if isinstance(error, SegpipeError)],
        headline="folds have failed; resume=true goes on with them, the others are done",
    )
    return [result for result in found if isinstance(result, RunResult)]


def _run_side_by_side(
    settings: Settings, config: Mapping[str, Any], folder: Path, parent: str | None, *, devices: int
) -> list[Any]:
    one = on_one_device(settings)
    one = one.model_copy(update={"trainer": one.trainer.model_copy(update={"progress": False})})  # bars would mix
    folds = settings.data.folds
    log.info("%s: %d folds, %d side by side, one on each device", settings.name, folds, min(devices, folds))
    prepare_data(_of_fold(settings, 0), recipe_of(settings))  # here, so that bad cases are named once
    job = partial(_run_fold, one, config, folder, parent)
    return run_side_by_side(job, folds, devices=min(devices, folds), name="fold")


def _run_fold(
    settings: Settings, config: Mapping[str, Any], folder: Path, parent: str | None, fold: int
) -> RunResult | None:
    own = {**config, "data": {**config["data"], "fold": fold}}
    return run_single(_of_fold(settings, fold), own, folder / f"fold_{fold}", parent=parent)


def _of_fold(settings: Settings, fold: int) -> Settings:
    return settings.model_copy(update={"data": settings.data.model_copy(update={"fold": fold})})
