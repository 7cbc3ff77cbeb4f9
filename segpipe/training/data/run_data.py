"""What a run works on: its cases by role, prepared and cached."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from segpipe.config.schema import Settings
from segpipe.datasets.loading import load_case
from segpipe.datasets.manifest import Entry, Manifest, Role
from segpipe.datasets.opening import cache_folder, open_dataset, open_older, open_scans, prepared_folder, quick_hash
from segpipe.datasets.splits import assign_roles
from segpipe.datasets.training_cases import limit_training, rehearse, without_rehearsed
from segpipe.errors import DatasetError, SegpipeError, raise_together
from segpipe.preprocessing.cache.build import build_cache
from segpipe.preprocessing.cache.cached_case import CachedCase
from segpipe.preprocessing.recipe import Recipe
from segpipe.system.files.csv_table import write_csv
from segpipe.system.machine.cores import available_cores
from segpipe.system.processes.launched import launch
from segpipe.training.data.datamodule import PatchDataModule
from segpipe.training.data.patients import PrivatePatches

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunData:
    """What a run works on.

    Args:
        manifest: All cases, each with its role.
        recipe: How scans are prepared.
        hash: Digest of the data set's content, without that of an older one that is rehearsed.
        cached: Prepared cases by id.
    """

    manifest: Manifest
    recipe: Recipe
    hash: str
    cached: dict[str, CachedCase]

    def entries(self, role: Role) -> list[Entry]:
        """The cases of one role, in the manifest's order."""
        return [entry for entry in self.manifest.entries if entry.split == role]

    @property
    def monitors_test(self) -> bool:
        """Whether training is watched on the held-out cases, because nothing else is left out; it selects nothing."""
        return not self.entries("val")

    def patches(self, settings: Settings) -> PatchDataModule:
        """The patches to train and to watch with."""
        train, monitor = self.entries("train"), self.entries("test" if self.monitors_test else "val")
        cases = self._prepared(train), self._prepared(monitor)
        if settings.privacy is None:
            return PatchDataModule(*cases, recipe=self.recipe, settings=settings)
        patients = [entry.patient for entry in train]
        return PrivatePatches(*cases, patients=patients, recipe=self.recipe, settings=settings)

    def _prepared(self, entries: Sequence[Entry]) -> list[CachedCase]:
        return [self.cached[entry.id] for entry in entries]


def prepare_data(settings: Settings, recipe: Recipe) -> RunData:
    """Opens the data set, splits it by patient and prepares its training and monitoring cases.

    Raises:
        SegpipeError: naming every bad case at once.
    """
    return prepare_cases(split_data(settings, recipe), settings, recipe)


def split_data(settings: Settings, recipe: Recipe) -> Manifest:
    """Opens the data set and gives each case its role.

    Raises:
        DatasetError: when it cannot be trained on.
        ConfigError: for a split that cannot be.
    """
    data, cache = settings.data, cache_folder(settings.data.cache)
    unlabelled = settings.pretraining is not None
    open_data = open_scans if unlabelled else open_dataset
    opened = open_data(data.name, data.model_dump(), labels=recipe.label_map, cache=cache)
    if not unlabelled:
        check_outlines(opened)
    assert data.fold != "all", "a cross-validation prepares one fold at a time"
    roles = partial(assign_roles, fold=data.fold, folds=data.folds, seed=data.split_seed, fractions=data.fractions)
    own = roles(opened)
    if data.limit is not None:
        own = limit_training(own, data.limit, seed=data.split_seed)
    if data.rehearsal is None:
        return own
    old = open_older(data.rehearsal, data.model_dump(), names=opened.labels, labelled=not unlabelled)
    if not unlabelled:
        check_outlines(old)
    return rehearse(own, roles(old))


def prepare_cases(manifest: Manifest, settings: Settings, recipe: Recipe) -> RunData:
    """Prepares the training and monitoring cases among those of a manifest with roles.

    Raises:
        SegpipeError: naming every bad case at once.
    """
    prepared = prepared_folder(cache_folder(settings.data.cache))
    cached = build_cache(
        cases_to_prepare(manifest),
        recipe,
        manifest.labels,
        folder=prepared,
        load=partial(load_case, labels=manifest.labels),
        workers=_count_workers(settings.data.workers),
        progress=settings.trainer.progress,
    )
    return RunData(
        manifest, recipe, quick_hash(without_rehearsed(manifest), prepared), {case.id: case for case in cached}
    )


def cases_to_prepare(manifest: Manifest) -> list[Entry]:
    """Those that patches are read from: to train, and to watch it on the validation cases or else on the held-out ones.

    The latter select nothing then.
    """
    watched = "val" if any(entry.split == "val" for entry in manifest.entries) else "test"
    return [entry for entry in manifest.entries if entry.split in ("train", watched)]


def check_outlines(manifest: Manifest) -> None:
    """Refuses data sets that hold cases nobody has outlined, which a network cannot learn a lesion's shape from.

    Raises:
        DatasetError: when cases have no mask, or have spheres in place of outlines.
    """
    count = len(manifest.entries)
    bare = [entry.id for entry in manifest.entries if entry.mask is None]
    spheres = [entry.id for entry in manifest.entries if (entry.extra or {}).get("sphere")]
    errors: list[SegpipeError] = []
    if bare:
        facts = {"data set": manifest.name, "without mask": f"{len(bare)} of {count} cases: {_some(bare)}"}
        hint = "take them out of manifest.json, or give scans without any lesion an empty mask; predict needs no masks"
        errors.append(DatasetError("every case to train or test on must have a mask", facts=facts, hint=hint))
    if spheres:
        facts = {"data set": manifest.name, "spheres": f"{len(spheres)} of {count} cases: {_some(spheres)}"}
        hint = "train on outlines, e.g. of LIDC-IDRI, and evaluate here by centre: segpipe evaluate --model MODEL"
        errors.append(DatasetError("spheres around nodules are no outlines to train on", facts=facts, hint=hint))
    raise_together(errors, headline="the data set cannot be trained on")


def write_split(run_data: RunData, folder: Path) -> Path:
    """Writes `split.csv`: case, patient and role of every case of the run."""
    rows = [{"case": entry.id, "patient": entry.patient, "role": entry.split} for entry in run_data.manifest.entries]
    return write_csv(folder / "split.csv", rows, ("case", "patient", "role"), what="the split")


def _count_workers(wanted: int | str) -> int:
    """The named number; for `auto` one for each core, which the processes on a machine share out."""
    launched = launch()
    return max(1, available_cores() // (launched.processes if launched else 1)) if wanted == "auto" else int(wanted)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (" …" if len(names) > 8 else "")
