"""Losses by name, each also for a list of logits at several resolutions (deep supervision)."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge, Gt, Interval
from monai.losses import DiceLoss, FocalLoss, GeneralizedDiceLoss, TverskyLoss
from torch import nn
from torch.nn import functional

from segpipe.labels import LabelMap
from segpipe.parts import Registry, build_part
from segpipe.parts.building import try_part
from segpipe.parts.targets import reason
from segpipe.training.optimisation.class_targets import ONE_CLASS, ClassLoss, CrossEntropy, RegionCrossEntropy
from segpipe.training.optimisation.over_ranks import MeanOverRanks, OverlapOverRanks

Weight = Annotated[float, Gt(0.0)]
Share = Annotated[float, Ge(0.0)]
Smoothing = Annotated[float, Interval(ge=0.0, lt=1.0)]


def build_loss(spec: Mapping[str, Any], labels: LabelMap = ONE_CLASS) -> "SupervisedLoss":
    """Builds the loss of `spec` for the classes of `labels`, called as `loss(outputs, label_b1xyz)`.

    Raises:
        ConfigError: for a name or key that is not known.
    """
    return SupervisedLoss(build_part(LOSSES, spec, labels=labels))


class SupervisedLoss(nn.Module):
    """A loss in float32, averaged over resolutions with weights 1, 1/2, 1/4 … where there are several.

    Source: Isensee et al., Nature Methods 2021, doi 10.1038/s41592-020-01008-z (the weights).

    Args:
        loss: Takes logits (B, C, x, y, z) and labels (B, 1, x, y, z).
    """

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, outputs: torch.Tensor | Sequence[torch.Tensor], label_b1xyz: torch.Tensor) -> torch.Tensor:
        """Computes the loss of logits (B, C, x, y, z), or of a list of them, highest resolution first."""
        levels = [outputs] if isinstance(outputs, torch.Tensor) else list(outputs)
        weights = [0.5**level for level in range(len(levels))]
        losses = [self.loss(_plain(logits), _at_size(label_b1xyz, logits)) for logits in levels]
        total = torch.stack([weight * loss for weight, loss in zip(weights, losses, strict=True)]).sum()
        return total / sum(weights)


def _plain(logits: torch.Tensor) -> torch.Tensor:
    """In float32 and with classes apart in memory, where losses are twice as fast."""
    return logits.to(torch.float32, memory_format=torch.contiguous_format)


class WeightedSum(nn.Module):
    """A sum of losses.

    Args:
        parts: Weight and loss of each.
    """

    def __init__(self, *parts: tuple[float, nn.Module]) -> None:
        super().__init__()
        self.weights = [weight for weight, _ in parts]
        self.losses = nn.ModuleList(loss for _, loss in parts)

    def forward(self, logits: torch.Tensor, label_b1xyz: torch.Tensor) -> torch.Tensor:
        """Computes the sum."""
        values = [weight * loss(logits, label_b1xyz) for weight, loss in zip(self.weights, self.losses, strict=True)]
        return torch.stack(values).sum()


def dice_ce(
    labels: LabelMap = ONE_CLASS,
    *,
    dice_weight: Share,
    ce_weight: Share,
    lesion_weight: Weight,
    include_background: bool,
    batch_dice: bool,
    label_smoothing: Smoothing = 0.0,  # which the configurations of earlier runs lack
) -> nn.Module:
    """Dice plus cross entropy; `lesion_weight` and `label_smoothing` are those of the cross entropy."""
    dice_part = dice(labels, include_background=include_background, batch_dice=batch_dice)
    ce_part = cross_entropy(labels, lesion_weight=lesion_weight, label_smoothing=label_smoothing)
    return WeightedSum((dice_weight, dice_part), (ce_weight, ce_part))


def dice(labels: LabelMap = ONE_CLASS, *, include_background: bool, batch_dice: bool) -> nn.Module:
    """Soft Dice; `batch_dice` sums over the batch before it divides, which steadies it where patches lack lesions.

    Source: Milletari et al., 3DV 2016, arXiv 1606.04797.
    """
    return _overlap(DiceLoss, labels, include_background, batch=batch_dice)


def dice_focal(
    labels: LabelMap = ONE_CLASS,
    *,
    dice_weight: Share,
    focal_weight: Share,
    gamma: Share,
    lesion_weight: Weight,
    include_background: bool,
    batch_dice: bool,
) -> nn.Module:
    """Dice plus focal loss; `lesion_weight` is that of a lesion voxel in the focal loss."""
    dice_part = dice(labels, include_background=include_background, batch_dice=batch_dice)
    return WeightedSum(
        (dice_weight, dice_part), (focal_weight, focal(labels, gamma=gamma, lesion_weight=lesion_weight))
    )


def focal(labels: LabelMap = ONE_CLASS, *, gamma: Share, lesion_weight: Weight) -> nn.Module:
    """Cross entropy that counts voxels less the surer the network is of them; the mean is over voxels and channels.

    Source: Lin et al., ICCV 2017, arXiv 1708.02002.
    """
    if labels.exclusive:
        weights = (1.0, *[lesion_weight] * (labels.channels - 1))
        loss: nn.Module = FocalLoss(to_onehot_y=True, use_softmax=True, gamma=gamma, weight=weights)
    else:
        inside = lesion_weight / (1 + lesion_weight)
        loss = WeightedSum((1 + lesion_weight, FocalLoss(gamma=gamma, alpha=inside)))
    return ClassLoss(MeanOverRanks(loss), labels, pooled=True)


def cross_entropy(
    labels: LabelMap = ONE_CLASS, *, lesion_weight: Weight, label_smoothing: Smoothing = 0.0
) -> nn.Module:
    """Voxel-wise cross entropy, of regions that of each; `label_smoothing` is the share that all classes get alike.

    Source: Szegedy et al., CVPR 2016, arXiv 1512.00567 (label smoothing).
    """
    if labels.exclusive:
        loss: nn.Module = CrossEntropy(lesion_weight, labels.channels, smoothing=label_smoothing)
    else:
        loss = RegionCrossEntropy(lesion_weight, smoothing=label_smoothing)
    return ClassLoss(loss, labels, pooled=True)


def tversky(
    labels: LabelMap = ONE_CLASS,
    *,
    false_positive_weight: Annotated[float, Interval(ge=0.0, le=1.0)],
    false_negative_weight: Annotated[float, Interval(ge=0.0, le=1.0)],
    include_background: bool,
    batch_dice: bool,
) -> nn.Module:
    """Dice with separate prices of false positive and false negative voxels; 0.5 and 0.5 is Dice.

    Source: Salehi et al., MLMI 2017, arXiv 1706.05721.
    """
    kind = partial(TverskyLoss, alpha=false_positive_weight, beta=false_negative_weight)
    return _overlap(kind, labels, include_background, batch=batch_dice)


def generalized_dice(
    labels: LabelMap = ONE_CLASS, *, volume_weight: Literal["square", "simple", "uniform"], batch_dice: bool
) -> nn.Module:
    """Dice over all channels, each weighted by 1, 1/volume or 1/volume².

    Source: Sudre et al., DLMIA 2017, arXiv 1707.03237.
    """
    return _overlap(partial(GeneralizedDiceLoss, w_type=volume_weight), labels, True, batch=batch_dice)


def _overlap(kind: Callable[..., nn.Module], labels: LabelMap, include_background: bool, *, batch: bool) -> nn.Module:
    """An overlap of MONAI's, of each patch or of the batch."""
    activation = _activation(labels, include_background)
    loss = OverlapOverRanks(kind, activation) if batch else kind(**activation)
    return ClassLoss(loss, labels, pooled=batch)


def _activation(labels: LabelMap, include_background: bool) -> dict[str, bool]:
    """How MONAI's losses make probabilities of logits; regions have no channel of the background."""
    if not labels.exclusive:
        return {"sigmoid": True}
    return {"to_onehot_y": True, "softmax": True, "include_background": include_background}


_SHIPPED: dict[str, Callable[..., nn.Module]] = {
    "dice_ce": dice_ce,
    "dice": dice,
    "dice_focal": dice_focal,
    "focal": focal,
    "cross_entropy": cross_entropy,
    "tversky": tversky,
    "generalized_dice": generalized_dice,
}


def _try_loss(spec: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    """Whether a loss makes one number of logits and labels, down which gradients flow."""
    recipe: Any = config.get("recipe")
    if not hasattr(recipe, "label_map"):
        return []  # the recipe has mistakes of its own
    labels: LabelMap = recipe.label_map
    return try_part(lambda: build_part(LOSSES, spec, labels=labels), object, lambda loss: _use(loss, labels.channels))


def _use(loss: nn.Module, channels: int) -> list[str]:
    logits = torch.zeros(2, channels, 8, 8, 8, requires_grad=True)
    label = (torch.arange(1024).reshape(2, 1, 8, 8, 8) % 2).float()
    try:
        value = loss(logits, label)
    except Exception as error:  # whatever foreign code raises
        shapes = (str(tuple(tensor.shape)) for tensor in (logits, label))
        return [f"must take {' and '.join(shapes)}, logits and labels ({reason(error)})"]
    if isinstance(value, torch.Tensor) and value.ndim == 0 and value.requires_grad:
        return []
    found = f"shape {tuple(value.shape)}" if isinstance(value, torch.Tensor) else type(value).__name__
    return [f"must give one number that can be differentiated; found {found}"]


LOSSES = Registry("loss", _SHIPPED, group="segpipe.losses", given=("labels",), optional=("labels",), trial=_try_loss)


def _at_size(label_b1xyz: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    if label_b1xyz.shape[2:] == logits.shape[2:]:
        return label_b1xyz
    return functional.interpolate(label_b1xyz.float(), size=logits.shape[2:], mode="nearest-exact")
