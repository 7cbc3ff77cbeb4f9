"""Training patches as a function of (seed, index), and the loader that streams them."""

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from segpipe.preprocessing.augmentation import Augmentation
from segpipe.preprocessing.augmentation.spatial import Source, read_patch
from segpipe.preprocessing.cache.cached_case import CachedCase
from segpipe.preprocessing.continuation import ContinuedCrop
from segpipe.preprocessing.recipe import Recipe
from segpipe.preprocessing.resampling import apply_window
from segpipe.preprocessing.sampling import HardPlace, PlaceSampler, Sampling
from segpipe.preprocessing.voxel_transforms import apply_transforms
from segpipe.system.processes.stopping import SIGNALS

Patch = dict[str, torch.Tensor]


class PatchDataset(Dataset[Patch]):
    """An endless stream of patches; `dataset[index]` is the same on every machine, in every worker and after a restart.

    Args:
        cases: Prepared cases.
        recipe: The recipe that they were prepared with.
        sampling: Where patches are read.
        augmentation: What they go through.
        seed: Another seed gives another stream.
    """

    def __init__(
        self,
        cases: Sequence[CachedCase],
        recipe: Recipe,
        *,
        sampling: Sampling,
        augmentation: Augmentation,
        seed: int,
    ) -> None:
        self.cases = cases
        self.recipe = recipe
        self.augmentation = augmentation
        self.seed = seed
        self._places = PlaceSampler(cases, recipe, sampling, seed)
        self._hidden_borders = sampling.hidden_borders if recipe.scope == "voi" else 0.0

    def look_at(self, places: Sequence[HardPlace]) -> None:
        """Takes other places where something else was taken for a lesion; the stream goes on with them."""
        self._places = replace(self._places, hard=places)

    def __getitem__(self, index: int) -> Patch:
        """Patch number `index` (≥ 0): image float32 (1, x, y, z) and label uint8 (1, x, y, z).

        The image lies in 0…1, unless the recipe's transforms bring it elsewhere.
        """
        rng = np.random.default_rng([self.seed, index])
        with _one_thread():
            motion = self.augmentation.draw_motion(rng, self.recipe.spacing_mm)
            place = self._places.place(index, rng, motion.source_shape(self.recipe.patch))
            source = self._source(self.cases[place.case], rng)
            image_hu, label = read_patch(source, place.start, self.recipe.patch, motion)
            patch = {"image": apply_window(image_hu, self.recipe)[None], "label": label[None]}
            augmented = self.augmentation.apply(patch, rng)
            return {**augmented, "image": apply_transforms(augmented["image"], self.recipe.transforms or ())}

    def _source(self, case: CachedCase, rng: np.random.Generator) -> Source:
        if self._hidden_borders and rng.random() < self._hidden_borders:
            return ContinuedCrop(case, rng)
        return case


class StepSampler(Sampler[int]):
    """Gives each rank its indices of each step; a run that starts at step n sees what it would have seen there.

    Args:
        batch: Patches of one rank in one step.
        steps: Steps of the whole run.
        start_step: Steps that are done already.
        rank: This process.
        world: Number of processes.
    """

    def __init__(self, batch: int, steps: int, start_step: int = 0, rank: int = 0, world: int = 1) -> None:
        self.batch, self.steps, self.start_step, self.rank, self.world = batch, steps, start_step, rank, world

    def __iter__(self) -> Iterator[int]:
        """Global patch numbers in the order of steps."""
        for step in range(self.start_step, self.steps):
            first = (step * self.world + self.rank) * self.batch
            yield from range(first, first + self.batch)

    def __len__(self) -> int:
        # of the whole run: Lightning counts the steps before a resume among those it has fetched
        return self.steps * self.batch


def validation_batches(patches: int, batch: int, *, rank: int = 0, world: int = 1) -> list[list[int]]:
    """The numbers of the validation patches of one rank: those of all ranks are 0 … `patches` - 1, each once.

    Together the ranks see what one process would with batches `world` times as large. Each has as many batches as the
    others, because losses and sharded networks add up across ranks in each of them.

    Args:
        patches: How many, a multiple of `world`.
        batch: Patches of one rank in one batch.
        rank: This process.
        world: Number of processes.
    """
    firsts = range(0, patches, batch * world)
    shares = [(first, min(batch, (patches - first) // world)) for first in firsts]
    return [list(range(first + rank * share, first + (rank + 1) * share)) for first, share in shares]


class StreamLoader(DataLoader[Patch]):
    """Keeps no state, because the trainer's step is all that a resumed stream must know; says so to Lightning."""

    def state_dict(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to take over."""


def build_train_loader(
    dataset: PatchDataset, *, batch: int, steps: int, start_step: int, workers: int, rank: int, world: int
) -> StreamLoader:
    """A loader of `steps - start_step` batches, equal for any number of workers.

    Returns:
        Batches of image float32 (B, 1, x, y, z) and label uint8 (B, 1, x, y, z).
    """
    sampler = StepSampler(batch, steps, start_step, rank, world)
    return StreamLoader(dataset, batch_size=batch, sampler=sampler, **loader_options(workers, seed=dataset.seed))


def loader_options(workers: int, *, seed: int) -> dict[str, Any]:
    """What every loader of training patches is told about its processes."""
    prefetch = {"prefetch_factor": 2} if workers else {}
    return {
        "num_workers": workers,
        "worker_init_fn": _start_worker,
        "pin_memory": torch.cuda.is_available(),
        # its own generator, so that the loader takes nothing from the network's random numbers
        "generator": torch.Generator().manual_seed(seed),
        **prefetch,
    }


def _start_worker(worker: int) -> None:
    torch.set_num_threads(1)
    for number in SIGNALS:  # a step that is waited for is still finished; the loader ends its workers itself
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums split over threads differ in their last bit, so a patch is always made by one thread."""
    threads = torch.get_num_threads()
    if threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
