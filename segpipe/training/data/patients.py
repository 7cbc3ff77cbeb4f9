"""Patches of patients drawn by chance: each one is in a step or not, whatever becomes of the others."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from segpipe.config.schema import Settings
from segpipe.preprocessing.augmentation import Augmentation
from segpipe.preprocessing.cache.cached_case import CachedCase
from segpipe.preprocessing.recipe import Recipe
from segpipe.preprocessing.sampling import Sampling
from segpipe.training.data.datamodule import PatchDataModule
from segpipe.training.data.patches import Patch, PatchDataset, StreamLoader, loader_options
from segpipe.training.hardware import choose_workers
from segpipe.training.privacy.plan import PrivacyPlan, plan_privacy
from segpipe.training.privacy.randomness import Purpose

Draw = tuple[int, int]
"""A patient's number, and which of that patient's patches."""
_SEEDS_APART = 1_000_003


class PatientPatches(Dataset[Patch]):
    """Patches of each patient, which depend on no other patient: not even how often a lesion's size is met elsewhere.

    Args:
        patients: The prepared cases of each.
        recipe: The recipe that they were prepared with.
        sampling: Where patches are read among a patient's cases; of patients without lesions anywhere.
        augmentation: What they go through.
        seed: Another seed gives other patches.
    """

    def __init__(
        self,
        patients: Sequence[Sequence[CachedCase]],
        recipe: Recipe,
        *,
        sampling: Sampling,
        augmentation: Augmentation,
        seed: int,
    ) -> None:
        self.patch = recipe.patch
        self._own = [
            PatchDataset(
                cases,
                recipe,
                sampling=sampling if _has_lesions(cases) else replace(sampling, lesion_fraction=0.0),
                augmentation=augmentation,
                seed=seed * _SEEDS_APART + number,
            )
            for number, cases in enumerate(patients)
        ]

    def __len__(self) -> int:
        """Patients; of each there are patches without end."""
        return len(self._own)

    def __getitem__(self, draw: Draw) -> Patch:
        """The patch of a draw."""
        patient, index = draw
        return self._own[patient][index]

    def collate(self, patches: list[Patch]) -> Mapping[str, torch.Tensor]:
        """A batch, which may be empty: then the step is noise alone."""
        if patches:
            batch: Mapping[str, torch.Tensor] = default_collate(patches)
            return batch
        empty = torch.zeros(0, 1, *self.patch)
        return {"image": empty, "label": empty.byte()}


class PoissonSampler(Sampler[list[Draw]]):
    """Draws each patient for each step with the same probability, independently of the others and of other steps.

    Args:
        plan: The probability, and the secret numbers that decide.
        steps: Steps of the whole run.
        start_step: Steps that are done already.
    """

    def __init__(self, plan: PrivacyPlan, steps: int, start_step: int = 0) -> None:
        self.plan, self.steps, self.start_step = plan, steps, start_step

    def __iter__(self) -> Iterator[list[Draw]]:
        """The draws of each step: of each patient so many in a row as `patches_per_patient`."""
        each = self.plan.patches_per_patient
        for step in range(self.start_step, self.steps):
            chances = self.plan.numbers.uniform(Purpose.PATIENTS, step, self.plan.patients)
            drawn = (chances < self.plan.sampling_rate).nonzero().flatten().tolist()
            yield [(patient, step * each + number) for patient in drawn for number in range(each)]

    def __len__(self) -> int:
        return self.steps  # of the whole run, see `StepSampler`


class PrivatePatches(PatchDataModule):
    """Feeds a private training.

    Args:
        train: Cases to learn from.
        monitor: Cases to watch with.
        patients: Whose the training cases are.
        recipe: How they were prepared.
        settings: The checked configuration, with a section `privacy`.
    """

    def __init__(
        self,
        train: Sequence[CachedCase],
        monitor: Sequence[CachedCase],
        *,
        patients: Sequence[str],
        recipe: Recipe,
        settings: Settings,
    ) -> None:
        super().__init__(train, monitor, recipe=recipe, settings=settings)
        by_patient = group_cases(train, patients)
        self.privacy: PrivacyPlan = plan_privacy(settings, patients=len(by_patient))
        self.patients = PatientPatches(
            by_patient, recipe, sampling=settings.sampling, augmentation=settings.augmentation, seed=settings.seed
        )

    def train_dataloader(self) -> DataLoader[Any]:
        """A batch of each step from the one on that the trainer has reached."""
        trainer, hardware = self.trainer, self.settings.trainer
        assert trainer is not None
        return StreamLoader(
            self.patients,
            batch_sampler=PoissonSampler(self.privacy, hardware.max_steps, trainer.global_step),
            collate_fn=self.patients.collate,
            **loader_options(choose_workers(hardware.workers), seed=self.settings.seed),
        )


def group_cases(cases: Sequence[CachedCase], patients: Sequence[str]) -> list[list[CachedCase]]:
    """The cases of each patient, in the order in which patients come first."""
    groups: dict[str, list[CachedCase]] = {}
    for case, patient in zip(cases, patients, strict=True):
        groups.setdefault(patient, []).append(case)
    return list(groups.values())


def _has_lesions(cases: Sequence[CachedCase]) -> bool:
    return any(case.lesion_diameters_mm for case in cases)
