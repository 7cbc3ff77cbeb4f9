"""`check=true`: tries a run on the machine that is to do it, and says what it will take and what stands in its way."""

import logging
import shutil
from collections import Counter
from functools import partial
from pathlib import Path

from segpipe.config.schema import Settings
from segpipe.datasets.manifest import Manifest
from segpipe.errors import SegpipeError, explain
from segpipe.planning.checklist import Item, text_table
from segpipe.planning.estimate import memory_item, time_items, work_of
from segpipe.planning.surroundings import cores_item, disk_items, shared_memory_item, tracking_item
from segpipe.planning.trial import try_run
from segpipe.system.case_errors import attempt
from segpipe.system.processes.launched import this_rank
from segpipe.training.data.run_data import split_data
from segpipe.training.fitting import recipe_of
from segpipe.training.hardware import check_compute, choose_workers, compute_of, on_one_device

log = logging.getLogger(__name__)


def check_run(settings: Settings, folder: Path) -> int:
    """Tries a run and prints a table; nothing stays but the cases that were prepared, which the run will find.

    Args:
        settings: The checked configuration; of a cross-validation one fold is tried.
        folder: A passing folder on the disk that the run will be written to.

    Returns:
        The exit code: 2 when the run would fail.
    """
    log.info("checking %s: %s", settings.name, check_compute(_one_fold(settings)).describe())
    main = this_rank() == 0
    try:
        items = [*_try(settings, folder), *(_look_around(settings) if main else [])]
    finally:
        if main:
            shutil.rmtree(folder, ignore_errors=True)
    if main:
        print(text_table(items))
    return 2 if any(item.problem for item in items) else 0


def _look_around(settings: Settings) -> list[Item]:
    return [tracking_item(settings), cores_item(settings), *filter(None, [shared_memory_item(settings)])]


def _try(settings: Settings, folder: Path) -> list[Item]:
    """What comes of a trial; a problem of it hides none of what is around."""
    one = _one_fold(settings)
    manifest = attempt(partial(split_data, one, recipe_of(one)))
    if isinstance(manifest, SegpipeError):
        return [Item("data", settings.data.name, problem=explain(manifest))]
    trial = attempt(partial(try_run, one, manifest, folder))
    if trial is None:
        return []
    if isinstance(trial, SegpipeError):
        return [_data_item(manifest), Item("trial", "failed", problem=explain(trial))]
    workers = choose_workers(settings.trainer.workers, processes=compute_of(settings.trainer).devices)
    return [
        _data_item(manifest),
        memory_item(settings, trial),
        *time_items(trial, work_of(settings, manifest), workers=workers),
        *disk_items(one, manifest, trial, folder.parent),
    ]


def _data_item(manifest: Manifest) -> Item:
    roles = Counter(entry.split for entry in manifest.entries)
    count = len(manifest.entries)
    return Item(
        "data", f"{count} cases: {roles['train']} to train on, {roles['val']} to validate, {roles['test']} held out"
    )


def _one_fold(settings: Settings) -> Settings:
    """Of a cross-validation its first fold, on one device, as each of them is trained."""
    if settings.data.fold != "all":
        return settings
    return on_one_device(settings.model_copy(update={"data": settings.data.model_copy(update={"fold": 0})}))
