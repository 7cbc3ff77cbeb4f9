"""The Lightning module: network, loss, optimizer and scheduler arrive built, and it knows no configuration."""

import re
from collections.abc import Callable, Mapping
from functools import reduce
from operator import or_
from typing import Any

import pytorch_lightning as pl
import torch
from torch import nn

from segpipe.labels import LabelMap
from segpipe.networks.padding import forward_padded
from segpipe.parts import TARGET, Registry
from segpipe.parts.targets import find_target, takes
from segpipe.training.checkpoints.saving import MONITOR
from segpipe.training.optimisation.class_targets import ONE_CLASS
from segpipe.training.optimisation.mixing import mix_nothing

Batch = Mapping[str, torch.Tensor]
CHECKPOINT_KEY = "segpipe"


class SegmentationModule(pl.LightningModule):
    """Learns to segment patches.

    Args:
        network: Maps images (B, 1, x, y, z) to logits (B, C, x, y, z); in training it may return a list of them.
        loss: Maps such outputs and labels (B, 1, x, y, z) to a number.
        make_optimizer: Builds the optimizer for the network.
        make_scheduler: Builds the learning rate's scheduler for the optimizer.
        seed: Makes dropout a function of the step.
        provenance: Plain data that every checkpoint carries, e.g. recipe and network.
        labels: The classes.
    """

    def __init__(
        self,
        network: nn.Module,
        loss: nn.Module,
        *,
        make_optimizer: Callable[[nn.Module], torch.optim.Optimizer],
        make_scheduler: Callable[[torch.optim.Optimizer], Any],
        seed: int,
        provenance: Mapping[str, Any],
        labels: LabelMap = ONE_CLASS,
    ) -> None:
        super().__init__()
        self.network = network
        self.loss = loss
        self.make_optimizer = make_optimizer
        self.make_scheduler = make_scheduler
        self.seed = seed
        self.provenance = dict(provenance)
        self.labels = labels
        self.validate_every = 1
        self.mixing = mix_nothing()
        self._overlap = torch.zeros(len(labels.classes), 3)
        self._loss = torch.zeros(2)

    def forward(self, images: torch.Tensor) -> Any:
        """Logits of images (B, 1, x, y, z), which may have any size."""
        return forward_padded(self.network, images)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seeds dropout by the batch, so that a resumed run draws what an uninterrupted one would."""
        torch.manual_seed(self.seed * 1_000_003 + batch_idx * self.trainer.world_size + self.global_rank)

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        """The loss of one batch, whose patches may be mixed before."""
        images, targets = self.mixing(batch["image"], batch["label"])
        outputs = self(images)
        loss = torch.stack([weight * self.loss(outputs, label) for weight, label in targets]).sum()
        self.log("train/loss", loss, prog_bar=True, logger=False)
        return loss

    def on_validation_epoch_start(self) -> None:
        """Forgets the sums of the last validation."""
        self._overlap = torch.zeros(len(self.labels.classes), 3, device=self.device)
        self._loss = torch.zeros(2, device=self.device)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Counts a validation batch of patches."""
        logits = self(batch["image"])
        patches = logits.new_tensor(len(logits), dtype=torch.float32)
        self._loss += torch.stack([self.loss(logits, batch["label"]) * len(logits), patches])
        self._overlap += count_overlap(logits, batch["label"], self.labels)

    def on_validation_epoch_end(self) -> None:
        """Logs loss and pooled Dice of all processes' patches; Dice watches training and is never a result."""
        loss, patches = self._of_all(self._loss)
        self.log("val/loss", loss / patches, sync_dist=True)
        both, predicted, reference = self._of_all(self._overlap).T
        dice = 2 * both / (predicted + reference).clamp_min(1)
        self.log(MONITOR, dice.mean(), sync_dist=True)
        if len(dice) > 1:
            names = [re.sub(r"\W+", "_", label.name) for label in self.labels.classes]
            own = {f"{MONITOR}_{name}": value for name, value in zip(names, dice, strict=True)}
            self.log_dict(own, sync_dist=True)

    def _of_all(self, sums: torch.Tensor) -> torch.Tensor:
        total: torch.Tensor = self.trainer.strategy.reduce(sums, reduce_op="sum")
        return total

    def configure_optimizers(self) -> Any:
        """Optimizer and scheduler, stepped once per optimizer step; a plateau scheduler once per validation."""
        optimizer = self.make_optimizer(self.network)
        scheduler = self.make_scheduler(optimizer)
        plateau = isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau)
        how = {"frequency": self.validate_every, "monitor": "val/loss"} if plateau else {"frequency": 1}
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step", **how}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the provenance that makes a checkpoint self-describing."""
        checkpoint[CHECKPOINT_KEY] = self.provenance


def segmentation(**given: Any) -> SegmentationModule:
    """The module that segpipe ships; it gets all that is handed over."""
    return SegmentationModule(**given)


def _try_module(spec: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    """Whether it is this module or derives from it: checkpoints and export rely on what it keeps and logs."""
    kind = find_target(spec[TARGET]) if TARGET in spec else MODULES[spec["name"]]
    if kind is segmentation or (isinstance(kind, type) and issubclass(kind, SegmentationModule)):
        lacking = [name for name in MODULES.given if not takes(kind, name)]
        return [f"must take and hand on {', '.join(lacking)}"] if lacking else []
    found = getattr(kind, "__name__", type(kind).__name__)
    return [f"must be a class that derives from {__name__}.SegmentationModule; found {found}"]


MODULES = Registry(
    "module",
    {"segmentation": segmentation},
    group="segpipe.modules",
    trial=_try_module,
    given=("network", "loss", "make_optimizer", "make_scheduler", "seed", "provenance", "labels"),
)


def count_overlap(logits: torch.Tensor, label_b1xyz: torch.Tensor, labels: LabelMap) -> torch.Tensor:
    """Voxels of each class in both masks, in the prediction and in the reference, as float32 (K, 3)."""
    strongest = logits.argmax(1, keepdim=True) if labels.exclusive else None
    counted = True if labels.ignore is None else label_b1xyz != labels.ignore
    counts = []
    for number, label in enumerate(labels.classes):
        inside = logits[:, number : number + 1] > 0 if strongest is None else strongest == number + 1
        prediction = inside & counted
        reference = reduce(or_, [label_b1xyz == value for value in label.values])
        counts.append(torch.stack([(prediction & reference).sum(), prediction.sum(), reference.sum()]))
    return torch.stack(counts).float()
