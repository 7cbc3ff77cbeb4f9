"""How wrong a network is in a whole scan, as a function of its HU that has a gradient."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from segpipe.case import Case
from segpipe.inference.window.grid import InferenceGrid, choose_grid
from segpipe.inference.window.nearest import nearest_values
from segpipe.inference.window.sliding import Sliding, flips_of, starts
from segpipe.labels import LabelMap
from segpipe.preprocessing.recipe import Recipe, Shape
from segpipe.preprocessing.resampling import interpolate, normalise, plan_preparation

Box = tuple[slice, ...]


@dataclass(frozen=True, eq=False)
class Target:
    """What is attacked.

    Args:
        network: Gives logits (B, C, x, y, z).
        recipe: How it wants scans.
        divisor: What its input shape must be a multiple of.
        flips: The axes of the mirrored views whose mean is its answer.
    """

    network: nn.Module
    recipe: Recipe
    divisor: Shape
    flips: Sequence[int] = ()


class ScanLoss:
    """Cross entropy of the network with the reference, summed over the voxels of all windows: the mean of all views.

    Windows overlap no more than the scan's size makes them. The scan is prepared
    as for a prediction (orientation, spacing, window, transforms), by steps that have a gradient.

    Args:
        case: A scan with its reference mask.
        target: The network.
    """

    def __init__(self, case: Case, target: Target) -> None:
        assert case.mask is not None
        self.target = target
        self.grid = choose_grid(plan_preparation(case.grid, target.recipe), target.recipe, target.divisor)
        self.label = nearest_values(case.mask, self.grid)
        sliding = Sliding(self.grid.window, 0.0, 1)
        corners = product(*(starts(self.grid.size, sliding, axis=axis) for axis in range(3)))
        self.boxes = [_box(corner, self.grid.window) for corner in corners]
        self.views = flips_of(target.flips)

    def __call__(self, image_hu_11xyz: torch.Tensor) -> torch.Tensor:
        """The loss of a scan on its own grid, (1,)."""
        frame = prepare(image_hu_11xyz[0, 0], self.grid, self.target.recipe)
        total: torch.Tensor = _SumOverViews.apply(  # type: ignore[no-untyped-call]
            frame, product(self.boxes, self.views), self._of_view
        )
        return total / len(self.views)

    def _of_view(self, patch_xyz: torch.Tensor, box: Box, mirrored: list[int]) -> torch.Tensor:
        device = next(self.target.network.parameters()).device
        view = patch_xyz[None, None].to(device).flip(mirrored)
        logits = self.target.network(view).flip(mirrored).float()
        return summed_surprise(logits, self.label[box][None].to(device), self.target.recipe.label_map)


def prepare(image_hu: torch.Tensor, grid: InferenceGrid, recipe: Recipe) -> torch.Tensor:
    """The frame (x, y, z) as the network sees it, from a scan on its own grid; `SliceReader` with a gradient."""
    preparation = grid.preparation
    flipped = [axis for axis in range(3) if preparation.flips[axis]]
    oriented = image_hu.permute(preparation.order).flip(flipped)
    return normalise(interpolate(oriented, [grid.scan_positions(axis) for axis in range(3)]), recipe)


def summed_surprise(logits: torch.Tensor, label_bxyz: torch.Tensor, labels: LabelMap) -> torch.Tensor:
    """Cross entropy, summed over voxels, and over regions where classes do not exclude each other.

    Args:
        logits: (B, C, x, y, z).
        label_bxyz: Label map; its ignored voxels do not count.
        labels: The classes.
    """
    label = label_bxyz.long()
    if labels.exclusive:
        ignored = -100 if labels.ignore is None else labels.ignore
        return functional.cross_entropy(logits, label, ignore_index=ignored, reduction="sum")
    tables = [torch.from_numpy(labels.member_table(number)) for number in range(len(labels.classes))]
    members = torch.stack(tables).float().to(label.device)[:, label].movedim(0, 1)
    counted = torch.ones_like(label) if labels.ignore is None else label != labels.ignore
    surprise = functional.binary_cross_entropy_with_logits(logits, members, reduction="none")
    return (surprise * counted[:, None]).sum()


class _SumOverViews(torch.autograd.Function):
    """A sum over views of boxes, each of which gives its gradient at once: memory holds one pass at a time."""

    @staticmethod
    def forward(
        ctx: Any,
        frame: torch.Tensor,
        parts: Iterable[tuple[Box, list[int]]],
        loss: Callable[[torch.Tensor, Box, list[int]], torch.Tensor],
    ) -> torch.Tensor:
        total, gradient = frame.new_zeros(1), torch.zeros_like(frame)
        for box, mirrored in parts:
            with torch.enable_grad():
                patch = frame[box].detach().requires_grad_()
                value = loss(patch, box, mirrored)
            gradient[box] += torch.autograd.grad(value, patch)[0]
            total += value.detach().to(total.device)
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    def backward(ctx: Any, *given: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * given[0], None, None


def _box(corner: tuple[int, ...], window: Shape) -> Box:
    return tuple(slice(first, first + length) for first, length in zip(corner, window, strict=True))
