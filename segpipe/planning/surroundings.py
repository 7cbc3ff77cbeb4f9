"""What a run needs around it: room on disks and in shared memory, cores for its loaders, a tracker that answers."""

import shutil
from functools import partial
from pathlib import Path

import numpy as np

from segpipe.config.schema import Settings
from segpipe.datasets.manifest import Manifest
from segpipe.datasets.opening import cache_folder, prepared_folder
from segpipe.errors import explain
from segpipe.planning.checklist import Item, describe_size
from segpipe.planning.trial import Trial
from segpipe.preprocessing.cache.build import find_missing
from segpipe.system.case_errors import attempt
from segpipe.system.machine.cores import available_cores
from segpipe.tracking.server import is_yet_to_be_made
from segpipe.tracking.trackers import ask_tracker
from segpipe.training.data.run_data import cases_to_prepare
from segpipe.training.fitting import recipe_of
from segpipe.training.hardware import choose_workers, compute_of

SHARED_MEMORY = Path("/dev/shm")
_BYTES_OF_VOXEL = 4 + 1  # float32 image and uint8 label
_READY = 2  # batches that a worker has ready, see `build_train_loader`
_CHECKPOINTS = 3  # the last, the best, and one that is being written
_EXPORTS = 2  # safetensors and ONNX


def tracking_item(settings: Settings) -> Item:
    """Whether the tracker answers; a database that the run would make is not made here."""
    name, uri = settings.tracking.get("name"), str(settings.tracking.get("uri"))
    if name != "mlflow":
        return Item("tracking", str(name or "by a part of another package"))
    if is_yet_to_be_made(uri):
        return Item("tracking", f"{uri}, which the run makes")
    error = attempt(partial(ask_tracker, settings.tracking))
    return Item("tracking", uri, problem=explain(error)) if error else Item("tracking", f"{uri} answers")


def cores_item(settings: Settings) -> Item:
    """Whether there are cores for all processes that train and that read patches."""
    devices, cores = compute_of(settings.trainer).devices, available_cores()
    workers = choose_workers(settings.trainer.workers, processes=devices)
    found = f"{cores}; processes: {devices} to train, {devices * workers} to read patches"
    fit = max(cores // devices - 1, 0)
    hint = f"they will wait for each other; trainer.workers={fit}"
    crowded = settings.trainer.workers != "auto" and devices * (workers + 1) > cores
    return Item("cores", found, warning=hint if crowded else "")


def shared_memory_item(settings: Settings) -> Item | None:
    """Whether the batches that loaders have ready fit where they are handed over; None where that is no folder."""
    if not SHARED_MEMORY.is_dir():
        return None
    devices = compute_of(settings.trainer).devices
    workers = choose_workers(settings.trainer.workers, processes=devices)
    batch = settings.training.batch_size * int(np.prod(recipe_of(settings).patch)) * _BYTES_OF_VOXEL
    needed = devices * (_READY * workers + 1) * batch if workers else 0
    free = shutil.disk_usage(SHARED_MEMORY).free
    hint = "loaders would end with a bus error; docker run --shm-size=…, fewer trainer.workers, or trainer.workers=0"
    found = f"{describe_size(needed)} needed, {describe_size(free)} free"
    return Item(str(SHARED_MEMORY), found, warning=hint if needed > free else "")


def disk_items(settings: Settings, manifest: Manifest, trial: Trial, home: Path) -> list[Item]:
    """Whether the cache and the run's folder have room; what both need counts where they are on one disk.

    Args:
        settings: The checked configuration, of one fold.
        manifest: The cases.
        trial: What files took.
        home: The folder that the run's folder will be made in.
    """
    cache = cache_folder(settings.data.cache)
    wanted = cases_to_prepare(manifest)
    missing = find_missing(wanted, recipe_of(settings), manifest.labels, folder=prepared_folder(cache))
    for_cache = len(missing) * trial.prepared_bytes
    held_out = sum(entry.split == "test" for entry in manifest.entries)
    kept = settings.trainer.max_steps // settings.training.keep_every if settings.training.keep_every else 0
    for_run = (
        (_CHECKPOINTS + kept) * trial.checkpoint_bytes + _EXPORTS * trial.weights_bytes + held_out * trial.mask_bytes
    )
    on_one_disk = cache.stat().st_dev == home.stat().st_dev
    what = f"{len(missing)} of {len(wanted)} cases are still to be prepared, {describe_size(trial.prepared_bytes)} each"
    return [
        _disk("cache", cache, for_cache, what=what, hint="data.cache=FOLDER on a larger disk"),
        _disk(
            "run folder",
            home,
            for_run,
            what="checkpoints, model and masks",
            also=for_cache if on_one_disk else 0.0,
            hint="hydra.run.dir=FOLDER on a larger disk",
        ),
    ]


def _disk(subject: str, folder: Path, needed: float, *, what: str, hint: str, also: float = 0.0) -> Item:
    free = shutil.disk_usage(folder).free
    found = f"{describe_size(needed)} needed, {describe_size(free)} free in {folder}; {what}"
    return Item(subject, found, problem=f"the disk would be full\ntry  {hint}" if needed + also > free else "")
