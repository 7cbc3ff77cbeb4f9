"""The patches of a run: an endless, numbered stream for training and a fixed handful for validation."""

from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
from torch.utils.data import DataLoader

from segpipe.config.schema import Settings
from segpipe.preprocessing.augmentation import Augmentation
from segpipe.preprocessing.cache.cached_case import CachedCase
from segpipe.preprocessing.recipe import Recipe
from segpipe.preprocessing.sampling import Sampling
from segpipe.training.data.mined import Mined
from segpipe.training.data.patches import PatchDataset, build_train_loader, validation_batches
from segpipe.training.hardware import choose_workers
from segpipe.training.privacy.plan import PrivacyPlan


class PatchDataModule(pl.LightningDataModule):
    """Feeds training with patches whose content depends on the seed and their number alone.

    Args:
        train: Cases to learn from.
        monitor: Cases to watch with.
        recipe: How they were prepared.
        settings: The checked configuration.
    """

    def __init__(
        self, train: Sequence[CachedCase], monitor: Sequence[CachedCase], *, recipe: Recipe, settings: Settings
    ) -> None:
        super().__init__()
        self.settings = settings
        sampling: Sampling = settings.sampling
        augmentation: Augmentation = settings.augmentation
        unchanged = Augmentation()
        self.mined: Mined | None = None
        self.privacy: PrivacyPlan | None = None
        self.train = PatchDataset(train, recipe, sampling=sampling, augmentation=augmentation, seed=settings.seed)
        self.monitor = PatchDataset(monitor, recipe, sampling=sampling, augmentation=unchanged, seed=settings.seed)

    def take(self, mined: Mined) -> None:
        """Goes on with the mistakes that a network makes; the newest ones count."""
        if self.mined is None or mined.step > self.mined.step:
            self.mined = mined
            self.train.look_at(mined.places(self.train.cases))

    def state_dict(self) -> dict[str, Any]:
        """What was mined, for checkpoints; nothing where nothing was."""
        return self.mined.to_dict() if self.mined else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes over what was mined before a run was resumed."""
        self.take(Mined.from_dict(state_dict))

    def train_dataloader(self) -> DataLoader[Any]:
        """Batches from the step on that the trainer has reached."""
        trainer, training = self.trainer, self.settings.training
        assert trainer is not None
        return build_train_loader(
            self.train,
            batch=training.batch_size,
            steps=self.settings.trainer.max_steps * training.accumulate,
            start_step=trainer.global_step * training.accumulate,
            workers=choose_workers(self.settings.trainer.workers, processes=trainer.num_devices),
            rank=trainer.global_rank,
            world=trainer.world_size,
        )

    def val_dataloader(self) -> DataLoader[Any]:
        """The same few patches at every validation, each on one rank."""
        trainer, training = self.trainer, self.settings.training
        assert trainer is not None
        batches = validation_batches(
            training.validation_patches, training.batch_size, rank=trainer.global_rank, world=trainer.world_size
        )
        return DataLoader(self.monitor, batch_sampler=batches)
