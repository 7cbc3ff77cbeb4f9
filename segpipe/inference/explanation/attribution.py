"""From a score and an image to a map: Grad-CAM, integrated gradients, occlusion."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from segpipe.errors import ConfigError
from segpipe.inference.engines.gradients import require_captum

METHODS = ("gradcam", "gradients", "occlusion")
STEPS = 32
"""Of the path that integrated gradients follow."""
STRIDES = 6
"""Places of the occluding box along each axis; it is two strides long."""
UNITS = {
    "gradcam": "part of the largest value",
    "gradients": "share of the score's difference to a scan of air",
    "occlusion": "fall of the score",
}


@dataclass(frozen=True, eq=False)
class Question:
    """What is explained.

    Args:
        score: Images (B, 1, x, y, z) → (B,).
        image: (1, 1, x, y, z).
        air: The value of air in it, from which integrated gradients start.
        neutral: What hides a part of it.
    """

    score: nn.Module
    image: torch.Tensor
    air: float
    neutral: float


def attribute(question: Question, method: str) -> torch.Tensor:
    """How much each voxel of the image counts for the score, (x, y, z), float32 on the CPU.

    - `gradcam`: 0…1; activations of the last convolution that is coarser than the image, weighed by their mean
      gradients, negative values left out. One pass and one back.
    - `gradients`: integrated gradients from a scan of air; its sum is the score less that of air. `STEPS` passes and
      as many back.
    - `occlusion`: how far the score falls when a box is hidden. About `STRIDES` cubed passes.

    Args:
        question: What is explained.
        method: One of `METHODS`.

    Raises:
        ConfigError: when captum is missing, or Grad-CAM finds no such convolution.

    Source:
        Selvaraju et al., Grad-CAM, ICCV 2017; Sundararajan et al., Axiomatic Attribution for Deep Networks, ICML 2017;
        Zeiler and Fergus, ECCV 2014.
    """
    ask: dict[str, Callable[[Question], torch.Tensor]] = {
        "gradcam": _gradcam,
        "gradients": _gradients,
        "occlusion": _occlusion,
    }
    require_captum("--explain")
    with torch.enable_grad():
        found = ask[method](question)
    return found.detach()[0, 0].float().cpu()


def _gradcam(question: Question) -> torch.Tensor:
    from captum.attr import LayerGradCam

    total = torch.zeros_like(question.image)
    for layer in coarse_convolutions(question.score, question.image):
        cam = LayerGradCam(question.score, layer).attribute(question.image, relu_attributions=True)
        total = total + functional.interpolate(cam, question.image.shape[2:], mode="trilinear", align_corners=False)
    return total / total.max().clamp_min(torch.finfo(total.dtype).tiny)


def _gradients(question: Question) -> torch.Tensor:
    from captum.attr import IntegratedGradients

    found: torch.Tensor = IntegratedGradients(question.score).attribute(
        question.image, baselines=question.air, n_steps=STEPS, internal_batch_size=4
    )
    return found


def _occlusion(question: Question) -> torch.Tensor:
    from captum.attr import Occlusion

    strides = [max(1, length // STRIDES) for length in question.image.shape[2:]]
    box = [min(2 * stride, length) for stride, length in zip(strides, question.image.shape[2:], strict=True)]
    with torch.no_grad():
        found: torch.Tensor = Occlusion(question.score).attribute(
            question.image,
            sliding_window_shapes=(1, *box),
            strides=(1, *strides),
            baselines=question.neutral,
            perturbations_per_eval=4,
        )
    return found


def coarse_convolutions(score: nn.Module, image: torch.Tensor) -> Sequence[nn.Module]:
    """The last convolution with an output coarser than the image, of each member of an ensemble.

    Raises:
        ConfigError: when there is none.
    """
    seen: list[tuple[str, nn.Module]] = []

    def note(name: str) -> Callable[[nn.Module, object, torch.Tensor], None]:
        def look(module: nn.Module, given: object, output: torch.Tensor) -> None:
            if output.ndim == 5 and output.shape[2:].numel() < image.shape[2:].numel():
                seen.append((name.split("members.")[-1].split(".")[0] if "members." in name else "", module))

        return look

    kinds = (nn.Conv3d, nn.ConvTranspose3d)
    hooks = [m.register_forward_hook(note(name)) for name, m in score.named_modules() if isinstance(m, kinds)]
    with torch.no_grad():
        score(image)
    for hook in hooks:
        hook.remove()
    if not seen:
        raise ConfigError(
            "Grad-CAM needs a network with a coarser level", hint="--explain gradients or occlusion asks any network"
        )
    return list(dict(seen).values())
