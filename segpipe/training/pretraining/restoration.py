"""Masked volume restoration: blocks of a patch are hidden, and the network is to give their voxels back.

Source:
    He et al., CVPR 2022, arXiv 2111.06377 (masked autoencoders); Xie et al., CVPR 2022, arXiv 2111.09886 (whose network
    sees the whole image, hidden patches included, as a U-Net does).
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional

from segpipe.training.checkpoints.saving import Monitor
from segpipe.training.module import Batch, SegmentationModule
from segpipe.training.pretraining.settings import Pretraining

RESTORATION = Monitor("val/loss", "min")


def build_restoration(pretraining: Pretraining, **given: Any) -> "RestorationModule":
    """The module of a pretraining from the parts of any other."""
    module = RestorationModule(**given)
    module.pretraining = pretraining
    return module


class RestorationModule(SegmentationModule):
    """Learns to restore what is hidden of a patch; labels are not looked at.

    In training what is hidden follows from the step, in a validation from the number of the batch: it is the same in
    each of them.
    """

    pretraining: Pretraining

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        """The error of one batch."""
        loss = self._error(batch["image"], generator=None)
        self.log("train/loss", loss, prog_bar=True, logger=False)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Adds up the error of a validation batch."""
        images = batch["image"]
        generator = torch.Generator().manual_seed(batch_idx * self.trainer.world_size + self.global_rank)
        patches = images.new_tensor(len(images), dtype=torch.float32)
        self._loss += torch.stack([self._error(images, generator) * len(images), patches])

    def on_validation_epoch_end(self) -> None:
        """Logs the mean squared error of all processes' hidden voxels."""
        loss, patches = self._of_all(self._loss)
        self.log(RESTORATION.name, loss / patches, sync_dist=True)

    def _error(self, images: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
        hidden = draw_hidden(images.shape, self.pretraining, generator).to(images.device)
        filling = torch.rand((len(images), 1, 1, 1, 1), generator=generator).to(images)
        restored = self(torch.where(hidden, filling, images))
        levels = [restored] if isinstance(restored, torch.Tensor) else restored
        return torch.stack([hidden_error(level, images, hidden) for level in levels]).mean()


def draw_hidden(
    shape_bcxyz: Sequence[int], pretraining: Pretraining, generator: torch.Generator | None = None
) -> torch.Tensor:
    """Which voxels of a batch are hidden, (B, 1, x, y, z): whole blocks, of each patch the wanted share of them.

    Args:
        shape_bcxyz: Of the images.
        pretraining: Edge of the blocks and their share.
        generator: Of random numbers; None takes torch's own.
    """
    batch, _, *size = shape_bcxyz
    counts = [-(-side // pretraining.block) for side in size]
    drawn = torch.rand(batch, counts[0] * counts[1] * counts[2], generator=generator)
    most = max(1, round(pretraining.share * drawn.shape[1]))
    blocks = (drawn.argsort(dim=1).argsort(dim=1) < most).reshape(batch, 1, *counts)
    for axis in (2, 3, 4):
        blocks = blocks.repeat_interleave(pretraining.block, dim=axis)
    return blocks[..., : size[0], : size[1], : size[2]]


def hidden_error(restored: torch.Tensor, images: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
    """The mean squared error over hidden voxels.

    At a lower resolution (deep supervision) that of the mean of each voxel's hidden part counts by its share.

    Args:
        restored: Of the network, (B, 1, x, y, z).
        images: What is to be restored.
        hidden: Where.
    """
    weight, target = hidden.float(), images.float() * hidden
    if restored.shape != images.shape:
        x, y, z = restored.shape[2:]
        weight, target = (functional.adaptive_avg_pool3d(value, (x, y, z)) for value in (weight, target))
        target = target / weight.clamp_min(1e-6)
    error = weight * (restored.float() - target).square()
    return error.sum() / weight.sum().clamp_min(1e-6)
