"""The cache of prepared cases: each scan is brought to the recipe's grid once, for all runs, ranks and workers."""

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from filelock import FileLock
from numpy.typing import NDArray

from segpipe.case import Case
from segpipe.errors import DatasetError, OutputError, SegpipeError, raise_together
from segpipe.labels import look_up
from segpipe.preprocessing.cache.cached_case import FORMAT, CachedCase, PreparedCase, open_case, write_case
from segpipe.preprocessing.cache.file_digests import content_digest, digest_memory, remembered_digest
from segpipe.preprocessing.cache.masks import resample_labels
from segpipe.preprocessing.cache.sample_points import find_points
from segpipe.preprocessing.lungs import crop_to_lungs
from segpipe.preprocessing.recipe import Recipe
from segpipe.preprocessing.resampling import plan_preparation, resample_to_recipe
from segpipe.preprocessing.scan_digest import scan_digest
from segpipe.system.files.writable import check_writable
from segpipe.system.processes.launched import own_first
from segpipe.system.processes.parallel_map import parallel_map


class Source(Protocol):
    """What the cache must know of a case before it is loaded; an entry of a manifest is one."""

    @property
    def id(self) -> str:
        """The case's name."""

    @property
    def image(self) -> Path:
        """Its scan file."""

    @property
    def mask(self) -> Path | None:
        """Its mask file; a case without one is prepared with an empty mask."""


def build_cache(
    entries: Sequence[Any],
    recipe: Recipe,
    labels: Mapping[int, str],
    *,
    folder: Path,
    load: Callable[[Any], Case],
    workers: int | None = None,
    progress: bool = True,
) -> list[CachedCase]:
    """Prepares the cases that the cache does not hold yet and opens all of them.

    A case is known by the content of its files, so a renamed data set is found again and a changed mask is not mixed
    up. Any number of processes may build the same cache at once and may be killed at any time; those that a launcher
    has started together each begin with other cases, so that they share the work.

    Args:
        entries: Cases with `id`, `image` and `mask` (see `Source`), e.g. entries of a manifest.
        recipe: The grid, window and label to prepare for.
        labels: Mask value → name in the data set.
        folder: Where the cache lies.
        load: Reads one entry; must be a function of a module when there are workers.
        workers: Processes; by default one per core, 0 builds in this process.
        progress: Whether to show progress.

    Raises:
        SegpipeError: after all good cases are done, one error that names every bad one.
        OutputError: before any work, when nothing can be written to the cache.
    """
    job = _Job(recipe, recipe.label_map.recode_table(labels), folder, load)
    found = {number: job.find(entry) for number, entry in enumerate(entries)}
    outcomes: dict[int, Path | SegpipeError] = {number: path for number, path in found.items() if path is not None}
    missing = own_first([number for number, path in found.items() if path is None])
    if missing:
        hint = "data.cache=FOLDER, or export SEGPIPE_CACHE=FOLDER, with a folder that you may write to"
        check_writable(folder, what="the cache of prepared cases", hint=hint)
    title = "preparing cases" if progress else None
    todo = [entries[number] for number in missing]
    for index, outcome in parallel_map(job, todo, name=attrgetter("id"), title=title, workers=workers):
        outcomes[missing[index]] = outcome
    errors = [outcome for _, outcome in sorted(outcomes.items()) if isinstance(outcome, SegpipeError)]
    raise_together(errors, headline="some cases cannot be prepared for training; the others are done and kept")
    return [_opened(outcomes[number], entry) for number, entry in enumerate(entries)]


def find_missing(entries: Sequence[Any], recipe: Recipe, labels: Mapping[int, str], *, folder: Path) -> list[Any]:
    """Those cases that the cache does not hold, as far as that is known without reading a scan; see `build_cache`."""
    places = _Places(recipe, recipe.label_map.recode_table(labels), folder)
    return [entry for entry in entries if places.find(entry) is None]


@dataclass(frozen=True, eq=False)
class _Places:
    """Where in the cache a case lies."""

    recipe: Recipe
    recode: NDArray[np.uint8]
    folder: Path

    def find(self, entry: Source) -> Path | None:
        """Returns the folder of a case that is known to be prepared, without reading any scan."""
        try:
            digests = [remembered_digest(file, self._memory) for file in _files(entry)]
        except SegpipeError:
            return None
        target = self._target([digest for digest in digests if digest])
        return target if all(digests) and open_case(target, entry.id) else None

    @property
    def _memory(self) -> Path:
        return digest_memory(self.folder)

    def _target(self, digests: Sequence[str]) -> Path:
        parts = [FORMAT, *digests, self._classes, *(["lung share"] if self.recipe.lung_crop else [])]
        key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]
        return self.folder / self.recipe.preparation_digest / key

    @property
    def _classes(self) -> str:
        """What of the labels decides a prepared case: the values taken, and how they make up the classes."""
        labels, values = self.recipe.label_map, np.flatnonzero(self.recode).tolist()
        if len(values) == len(labels.classes) == 1:
            return str(values[0])
        return json.dumps([[values, self.recode[values].tolist()], [label.values for label in labels.classes]])


@dataclass(frozen=True, eq=False)
class _Job(_Places):
    """Prepares a case."""

    load: Callable[[Any], Case]

    def __call__(self, entry: Source) -> Path:
        """Returns the folder of the prepared case.

        Raises:
            SegpipeError: when something is wrong with the case.
        """
        try:
            return self._prepare(entry)
        except OSError as error:
            raise OutputError("a case cannot be prepared", facts={"case": entry.id, "found": error}) from error

    def _prepare(self, entry: Source) -> Path:
        target = self._target([content_digest(file, self._memory) for file in _files(entry)])
        if open_case(target, entry.id) is None:
            target.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(target.with_suffix(".lock")):
                if open_case(target, entry.id) is None:
                    self._write(entry, target)
        return target

    def _write(self, entry: Source, target: Path) -> None:
        """Writes next to the target and renames; whoever holds the lock may clear what a killed builder left."""
        case, share = self.load(entry), None
        digest = scan_digest(case.image, case.grid)
        if self.recipe.lung_crop:
            case, share = crop_to_lungs(case)
        prepared = self._prepared(case, share, digest, seed=int(target.name, 16))
        part = target.with_suffix(".part")
        for left in (part, target):
            shutil.rmtree(left, ignore_errors=True)
        part.mkdir()
        try:
            write_case(part, prepared)
            part.replace(target)
        except (OSError, OutputError):
            shutil.rmtree(part, ignore_errors=True)
            raise

    def _prepared(self, case: Case, lung_share: float | None, digest: str, *, seed: int) -> PreparedCase:
        outlined = np.zeros(case.image.shape, dtype=np.uint8) if case.mask is None else case.mask
        preparation = plan_preparation(case.grid, self.recipe)
        image = _clip_to_window(resample_to_recipe(case.image, preparation), self.recipe)
        labels = self.recipe.label_map
        mask = resample_labels(look_up(self.recode, outlined), preparation, labels)
        rng = np.random.default_rng(seed)
        points, lesions = find_points(image, mask, preparation.grid, labels=labels, rng=rng)
        return PreparedCase(image, mask, preparation.grid, points, lesions, digest, lung_share)


def _files(entry: Source) -> list[Path]:
    """The scan, and the mask of one that has any."""
    return [entry.image] if entry.mask is None else [entry.image, entry.mask]


def _clip_to_window(image_hu: torch.Tensor, recipe: Recipe) -> NDArray[np.int16]:
    clipped: NDArray[np.int16] = image_hu.clamp(*recipe.window_hu).round_().to(torch.int16).numpy()
    return clipped


def _opened(outcome: Path | SegpipeError, entry: Source) -> CachedCase:
    case = open_case(outcome, entry.id) if isinstance(outcome, Path) else None
    if case is None:
        raise DatasetError("a prepared case vanished from the cache", facts={"case": entry.id, "folder": outcome})
    return case
