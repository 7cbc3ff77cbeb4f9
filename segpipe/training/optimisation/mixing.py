"""How the patches of a batch are mixed with each other before the network learns from them: regularisation by name."""

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from operator import or_
from typing import Annotated, Any

import torch
from annotated_types import Gt, Interval

from segpipe.labels import LabelMap
from segpipe.parts import Registry, build_part
from segpipe.parts.building import try_part
from segpipe.parts.targets import reason
from segpipe.training.optimisation.class_targets import ONE_CLASS

Targets = Sequence[tuple[float, torch.Tensor]]
Mixing = Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, Targets]]
"""Takes images and labels (B, 1, x, y, z); gives images, and labels each with the weight of its loss."""
Share = Annotated[float, Interval(ge=0.0, le=1.0)]


def build_mixing(spec: Mapping[str, Any] | None, labels: LabelMap = ONE_CLASS) -> Mixing:
    """Builds what mixes a batch; it draws from torch's global generator, which training seeds for each step.

    Args:
        spec: The section `mixing`; None mixes nothing.
        labels: The classes.

    Raises:
        ConfigError: for a name or key that is not known.
    """
    mixing: Mixing = build_part(MIXINGS, spec or {"name": "none"}, labels=labels)
    return mixing


def mix_nothing() -> Mixing:
    """The batch as it is."""

    def mix(image: torch.Tensor, label: torch.Tensor) -> tuple[torch.Tensor, Targets]:
        return image, [(1.0, label)]

    return mix


def mixup(*, prob: Share, alpha: Annotated[float, Gt(0.0)]) -> Mixing:
    """Each image is faded into another of the batch, and its loss is that of both labels by the same shares.

    Source: Zhang et al., ICLR 2018, arXiv 1710.09412. Of Dice, which is not linear in its labels, it is the loss that
    is mixed.

    Args:
        prob: Of a batch to be mixed.
        alpha: The share of the first image is drawn from Beta(alpha, alpha); 0.2 leaves most images nearly whole.
    """

    def mix(image: torch.Tensor, label: torch.Tensor) -> tuple[torch.Tensor, Targets]:
        if not _happens(prob):
            return image, [(1.0, label)]
        share, others = _draw_share(alpha), _draw_others(image)
        return share * image + (1 - share) * image[others], [(share, label), (1 - share, label[others])]

    return mix


def cutmix(*, prob: Share, alpha: Annotated[float, Gt(0.0)]) -> Mixing:
    """A box of each patch is replaced by the same box of another of the batch, in image and label alike.

    Source: Yun et al., ICCV 2019, arXiv 1905.04899; French et al., BMVC 2020, arXiv 1906.01916 (for segmentation).

    Args:
        prob: Of a batch to be mixed.
        alpha: The share of the volume that stays is drawn from Beta(alpha, alpha), before the box is cut at the border.
    """

    def mix(image: torch.Tensor, label: torch.Tensor) -> tuple[torch.Tensor, Targets]:
        if not _happens(prob):
            return image, [(1.0, label)]
        box, others = _draw_box(image.shape[2:], 1 - _draw_share(alpha)).to(image.device), _draw_others(image)
        return torch.where(box, image[others], image), [(1.0, torch.where(box, label[others], label))]

    return mix


def copy_paste(labels: LabelMap = ONE_CLASS, *, prob: Share) -> Mixing:
    """The lesions of another patch of the batch are pasted into a patch, voxel by voxel, where they lie in their own.

    Source: Ghiasi et al., CVPR 2021, arXiv 2012.07177. Edges stay hard and noise unlike; `data=implanted` puts nodules
    into whole scans with more care.

    Args:
        labels: The classes.
        prob: Of each patch to be pasted into.
    """
    values = sorted({value for label in labels.classes for value in label.values})

    def mix(image: torch.Tensor, label: torch.Tensor) -> tuple[torch.Tensor, Targets]:
        chosen = torch.rand(len(image), 1, 1, 1, 1) < prob
        others = _draw_others(image)
        pasted = reduce(or_, [label[others] == value for value in values]) & chosen.to(image.device)
        return torch.where(pasted, image[others], image), [(1.0, torch.where(pasted, label[others], label))]

    return mix


def _happens(prob: float) -> bool:
    return bool(torch.rand(()) < prob)


def _draw_share(alpha: float) -> float:
    return float(torch.distributions.Beta(alpha, alpha).sample())


def _draw_others(image: torch.Tensor) -> torch.Tensor:
    """For each patch of a batch the number of the one that it is mixed with; some meet themselves."""
    return torch.randperm(len(image)).to(image.device)


def _draw_box(shape: Sequence[int], volume: float) -> torch.Tensor:
    """Voxels (x, y, z) of a box of this share of a patch's volume and of its proportions, centred anywhere."""
    box = torch.zeros(*shape, dtype=torch.bool)
    x, y, z = (_draw_side(size, volume ** (1 / 3)) for size in shape)
    box[x, y, z] = True
    return box


def _draw_side(size: int, share: float) -> slice:
    centre = float(torch.rand(())) * size
    first, last = centre - share * size / 2, centre + share * size / 2
    return slice(max(0, round(first)), max(0, round(last)))


def _try_mixing(spec: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    """Whether a mixing fits the rest of a configuration, and gives images, labels and weights."""
    if spec == {"name": "none"}:
        return []
    for section in ("pretraining", "ratings"):
        if config.get(section):
            return [f"only outlines are mixed, and {section} has none; mixing=none"]
    training, recipe = config.get("training"), config.get("recipe")
    if isinstance(training, Mapping) and training.get("batch_size") == 1:
        return ["needs another patch in the batch; training.batch_size=2 or more, or mixing=none"]
    labels = getattr(recipe, "label_map", ONE_CLASS)
    return try_part(lambda: build_mixing(spec, labels), object, _use)


def _use(mixing: Mixing) -> list[str]:
    label = (torch.arange(1024).reshape(2, 1, 8, 8, 8) % 2).to(torch.uint8)
    try:
        with torch.random.fork_rng(devices=[]):
            image, targets = mixing(label.float(), label)
            shapes = {tuple(image.shape), *(tuple(target.shape) for weight, target in targets if weight >= 0)}
    except Exception as error:  # whatever foreign code raises
        given = "images and labels of shape (2, 1, 8, 8, 8)"
        return [f"must take {given}, and give images and (weight, label) ({reason(error)})"]
    return [] if shapes == {tuple(label.shape)} else [f"must keep the shape (2, 1, 8, 8, 8); found {sorted(shapes)}"]


MIXINGS = Registry(
    "mixing",
    {"none": mix_nothing, "mixup": mixup, "cutmix": cutmix, "copy_paste": copy_paste},
    group="segpipe.mixings",
    given=("labels",),
    optional=("labels",),
    trial=_try_mixing,
)
