"""A window slides over a frame, layer by layer; only one layer of slices is ever held."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch

from segpipe.inference.engines.device_memory import CPU
from segpipe.inference.engines.engine import Engine
from segpipe.preprocessing.recipe import Shape

GAUSSIAN_SIGMA = 1 / 8
GAUSSIAN_FLOOR = 1e-3
Run = Callable[[torch.Tensor], torch.Tensor]
Wanted = Callable[[Shape], bool]


@dataclass(frozen=True)
class Sliding:
    """How the window slides.

    Args:
        window: Voxels of one forward pass.
        overlap: Part of the window that neighbours share at least, 0 ≤ overlap < 1.
        batch: Windows per forward pass.
        classes: Probabilities of each voxel.
        place: Where a layer is held and its sums are made.
    """

    window: Shape
    overlap: float
    batch: int
    classes: int = 1
    place: torch.device = CPU


def slide(
    read: Callable[[int], torch.Tensor], size: Shape, sliding: Sliding, run: Run, *, wanted: Wanted | None = None
) -> Iterator[list[torch.Tensor]]:
    """Yields the probability (x, y) of each class in slice 0, 1, … of a box.

    The windows of one layer share their slices. Once the next layer begins, the slices before it are final and yielded,
    so memory holds one layer whatever the length of the scan, and the result cannot depend on how much there is.

    Args:
        read: Gives slice k (x, y) of the prepared box, on the CPU, as what is yielded is.
        size: Voxels of the box.
        sliding: How the window slides.
        run: Gives the probabilities (B, K, x, y, z) of patches.
        wanted: Decides from a window's first voxel whether it is worth a pass; others count as empty.
    """
    plane = [(x, y) for x in starts(size, sliding, axis=0) for y in starts(size, sliding, axis=1)]
    layers = starts(size, sliding, axis=2)
    layer = _Layer(size, sliding)
    for number, z in enumerate(layers):
        layer.fill([read(k) for k in range(layer.filled_to(z), z + sliding.window[2])])
        windows = [(x, y) for x, y in plane if wanted is None or wanted((x, y, z))]
        windows = [corner for corner in windows if layer.has_contrast(corner)]
        for first in range(0, len(windows), sliding.batch):
            batch = windows[first : first + sliding.batch]
            layer.add(batch, run(layer.patches(batch)))
        following = layers[number + 1] if number + 1 < len(layers) else size[2]
        yield from layer.leave(following - z)


def starts(size: Shape, sliding: Sliding, *, axis: int) -> list[int]:
    """First voxels of the windows along an axis: as few as the overlap allows, evenly spread.

    >>> starts((10, 1, 1), Sliding((4, 1, 1), 0.5, 1), axis=0)
    [0, 2, 4, 6]
    """
    length, window = size[axis], sliding.window[axis]
    step = max(1, int(window * (1 - sliding.overlap)))
    count = -(-(length - window) // step) + 1
    return [int(start) for start in np.round(np.linspace(0, length - window, count))]


def gaussian(window: Shape) -> torch.Tensor:
    """Weight of each voxel of a window (x, y, z): 1 in the middle, never below 0.001."""
    weight = torch.ones(())
    for length in window:
        offsets = (torch.arange(length) - (length - 1) / 2) / (length * GAUSSIAN_SIGMA)
        weight = weight[..., None] * torch.exp(-0.5 * offsets**2)
    return weight.clamp_min(GAUSSIAN_FLOOR)


def predict_flipped(engine: Engine, patches_bcxyz: torch.Tensor, flips: Sequence[int]) -> torch.Tensor:
    """Mean probability over all subsets of the mirrored axes (0 = x, 1 = y, 2 = z)."""
    return mean_of(flipped_views(engine, patches_bcxyz, flips))


def flipped_views(engine: Engine, patches_bcxyz: torch.Tensor, flips: Sequence[int]) -> Iterator[torch.Tensor]:
    """The probability by each of these views, mirrored back; first by the patches as they are."""
    for axes in flips_of(flips):
        yield engine(patches_bcxyz.flip(axes)).flip(axes)


def flips_of(flips: Sequence[int]) -> list[list[int]]:
    """The axes of (B, C, x, y, z) that each view mirrors.

    >>> flips_of((0, 2))
    [[], [2], [4], [2, 4]]
    """
    subsets = [subset for count in range(len(flips) + 1) for subset in combinations(flips, count)]
    return [[axis + 2 for axis in subset] for subset in subsets]


def mean_of(views: Iterable[torch.Tensor]) -> torch.Tensor:
    """The mean, of which one view at a time is held."""
    total, count = torch.zeros(()), 0
    for view in views:
        total, count = total + view, count + 1
    return total / count


class _Layer:
    """The slices of one layer: the prepared image, the classes' weighted sums of probabilities, the sum of weights."""

    def __init__(self, size: Shape, sliding: Sliding) -> None:
        depth, plane = sliding.window[2], size[:2]
        self.window = sliding.window
        self.image = torch.zeros(depth, *plane, device=sliding.place)
        self.totals = [torch.zeros_like(self.image) for _ in range(sliding.classes)]
        self.weight = torch.zeros_like(self.image)
        self.kernel_zxy = gaussian(sliding.window).permute(2, 0, 1).contiguous().to(sliding.place)
        self.kept = 0

    def filled_to(self, z: int) -> int:
        """The first slice of the box that is still to be read when the layer begins at `z`."""
        return z + self.kept

    def fill(self, slices: Sequence[torch.Tensor]) -> None:
        for offset, plane in enumerate(slices, start=self.kept):
            self.image[offset] = plane

    def patches(self, corners: Sequence[tuple[int, int]]) -> torch.Tensor:
        return torch.stack([self._part(self.image, corner).permute(1, 2, 0) for corner in corners])[:, None]

    def has_contrast(self, corner: tuple[int, int]) -> bool:
        """False for a window of one value, e.g. the air next to the patient, in which nothing can be found."""
        low, high = torch.aminmax(self._part(self.image, corner))
        return bool(high > low)

    def add(self, corners: Sequence[tuple[int, int]], probability_bcxyz: torch.Tensor) -> None:
        for corner, probability in zip(corners, probability_bcxyz, strict=True):
            for total, values_xyz in zip(self.totals, probability, strict=True):
                self._part(total, corner).addcmul_(values_xyz.permute(2, 0, 1), self.kernel_zxy)
            self._part(self.weight, corner).add_(self.kernel_zxy)

    def leave(self, count: int) -> Iterator[list[torch.Tensor]]:
        """Yields the first `count` slices and moves the others to the front."""
        nothing = self.weight.new_zeros(())
        for number, weight in enumerate(self.weight[:count]):
            yield [torch.where(weight > 0, total[number] / weight, nothing).cpu() for total in self.totals]
        self.kept = self.window[2] - count
        for buffer in (self.image, *self.totals, self.weight):
            for offset in range(self.kept):
                buffer[offset] = buffer[offset + count]
        for buffer in (*self.totals, self.weight):
            buffer[self.kept :] = 0

    def _part(self, buffer: torch.Tensor, corner: tuple[int, int]) -> torch.Tensor:
        x, y = corner
        return buffer[:, x : x + self.window[0], y : y + self.window[1]]
