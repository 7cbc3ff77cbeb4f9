"""Augmentation: what a scanner, a patient's position or a reconstruction could have made of the same lesion."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Protocol

import numpy as np
import torch
from annotated_types import Interval
from numpy.typing import NDArray

from segpipe.errors import ConfigError
from segpipe.parts import Registry, build_part
from segpipe.preprocessing.augmentation import intensity
from segpipe.preprocessing.augmentation.spatial import SpatialTransform
from segpipe.preprocessing.recipe import Triple

Probability = Annotated[float, Interval(ge=0, le=1)]
Range = tuple[float, float]


class Augmentation(Protocol):
    """What a training patch goes through; both methods take all their randomness from `rng`."""

    def motion(self, rng: np.random.Generator, spacing_mm: Triple) -> SpatialTransform:
        """How the patch is taken from a scan on a grid of `spacing_mm`."""

    def intensities(self, image_xyz: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        """Changes the values of a patch in 0…1."""


@dataclass(frozen=True, kw_only=True)
class NoAugmentation:
    """Leaves patches as they are."""

    def motion(self, rng: np.random.Generator, spacing_mm: Triple) -> SpatialTransform:
        """No motion."""
        return SpatialTransform()

    def intensities(self, image_xyz: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        """No change."""
        return image_xyz


@dataclass(frozen=True, kw_only=True)
class LightAugmentation:
    """Flips, turns and scales within the axial plane, and what differs between scanners.

    Args:
        flip: Probability to flip, for each axis.
        quarter_turn: Probability of a turn by 90°, 180° or 270° in the axial plane, where its spacing is isotropic.
        rotate: Probability of a rotation in the axial plane.
        rotate_degrees: Largest angle, either way.
        scale: Probability of a change of size.
        scale_range: Factors by which structures grow.
        noise: Probability of Gaussian noise.
        noise_range: Standard deviations, in parts of the recipe's window.
        brightness: Probability of a shift of all values.
        brightness_range: Shifts, in parts of the window.
        contrast: Probability of a stretch about the mean.
        contrast_range: Factors.
    """

    flip: Probability
    quarter_turn: Probability
    rotate: Probability
    rotate_degrees: Annotated[float, Interval(ge=0, le=180)]
    scale: Probability
    scale_range: Range
    noise: Probability
    noise_range: Range
    brightness: Probability
    brightness_range: Range
    contrast: Probability
    contrast_range: Range

    def __post_init__(self) -> None:
        _check_ranges(self)

    def motion(self, rng: np.random.Generator, spacing_mm: Triple) -> SpatialTransform:
        """Flips, quarter turns and an affine motion in millimetres."""
        flips = tuple(axis for axis in range(3) if rng.random() < self.flip)
        turn = rng.random() < self.quarter_turn and np.isclose(spacing_mm[0], spacing_mm[1])
        turns = int(rng.integers(1, 4)) if turn else 0
        return SpatialTransform(flips, turns, in_voxels(self._matrix_mm(rng), spacing_mm))

    def intensities(self, image_xyz: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        """Noise, brightness and contrast; the result stays in 0…1."""
        image = image_xyz
        if rng.random() < self.noise:
            image = intensity.add_noise(image, rng.uniform(*self.noise_range), rng)
        if rng.random() < self.brightness:
            image = intensity.shift(image, rng.uniform(*self.brightness_range))
        if rng.random() < self.contrast:
            image = intensity.adjust_contrast(image, rng.uniform(*self.contrast_range))
        return image.clamp(0.0, 1.0)

    def _matrix_mm(self, rng: np.random.Generator) -> NDArray[np.float64] | None:
        matrix = None
        if rng.random() < self.rotate:
            matrix = rotation(2, rng.uniform(-self.rotate_degrees, self.rotate_degrees))
        if rng.random() < self.scale:
            matrix = (np.eye(3) if matrix is None else matrix) / rng.uniform(*self.scale_range)
        return matrix


@dataclass(frozen=True, kw_only=True)
class StrongAugmentation(LightAugmentation):
    """`LightAugmentation` and tilts, shears, elastic motion, blur, low resolution and gamma.

    Args:
        tilt_degrees: Largest angle about the other two axes, whenever there is a rotation.
        shear: Probability of a shear.
        shear_range: Offsets per offset.
        elastic: Probability of an elastic motion.
        elastic_mm: Standard deviation of its control points, which lie a quarter of the patch apart.
        blur: Probability of Gaussian blur.
        blur_range: Standard deviations in voxels.
        low_resolution: Probability of a resampling to coarser voxels and back.
        low_resolution_range: Factors of the voxel count along each axis.
        gamma: Probability of a gamma curve; half of them on the inverted image.
        gamma_range: Exponents.
    """

    tilt_degrees: Annotated[float, Interval(ge=0, le=180)]
    shear: Probability
    shear_range: Range
    elastic: Probability
    elastic_mm: Annotated[float, Interval(ge=0, le=20)]
    blur: Probability
    blur_range: Range
    low_resolution: Probability
    low_resolution_range: Range
    gamma: Probability
    gamma_range: Range

    def motion(self, rng: np.random.Generator, spacing_mm: Triple) -> SpatialTransform:
        """The light motion with tilts and shears, and an elastic one."""
        base = super().motion(rng, spacing_mm)
        if rng.random() >= self.elastic:
            return base
        bend = rng.normal(0.0, self.elastic_mm, (3, 5, 5, 5)) / np.reshape(spacing_mm, (3, 1, 1, 1))
        return SpatialTransform(base.flips, base.turns, base.matrix, bend.astype(np.float32))

    def intensities(self, image_xyz: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        """The light changes, blur, low resolution and gamma; the result stays in 0…1."""
        image = super().intensities(image_xyz, rng)
        if rng.random() < self.blur:
            image = intensity.blur(image, rng.uniform(*self.blur_range))
        if rng.random() < self.low_resolution:
            image = intensity.lower_resolution(image, rng.uniform(*self.low_resolution_range))
        if rng.random() < self.gamma:
            image = intensity.adjust_gamma(image, rng.uniform(*self.gamma_range), inverted=rng.random() < 0.5)
        return image.clamp(0.0, 1.0)

    def _matrix_mm(self, rng: np.random.Generator) -> NDArray[np.float64] | None:
        matrix = None
        if rng.random() < self.rotate:
            limits = (self.tilt_degrees, self.tilt_degrees, self.rotate_degrees)
            x, y, z = (rotation(axis, rng.uniform(-limit, limit)) for axis, limit in enumerate(limits))
            matrix = z @ y @ x
        if rng.random() < self.scale:
            matrix = (np.eye(3) if matrix is None else matrix) / rng.uniform(*self.scale_range)
        if rng.random() < self.shear:
            matrix = (np.eye(3) if matrix is None else matrix) @ _shear(rng.uniform(*self.shear_range, size=6))
        return matrix


_SHIPPED: dict[str, Callable[..., Augmentation]] = {
    "none": NoAugmentation,
    "light": LightAugmentation,
    "strong": StrongAugmentation,
}
AUGMENTATIONS = Registry("augmentation", _SHIPPED, group="segpipe.augmentations")


def build_augmentation(spec: Mapping[str, Any]) -> Augmentation:
    """Builds the augmentation that `spec["name"]` names.

    Raises:
        ConfigError: for a name or key that is not known, or a range whose ends are swapped.
    """
    augmentation: Augmentation = build_part(AUGMENTATIONS, spec)
    return augmentation


def rotation(axis: int, degrees: float) -> NDArray[np.float64]:
    """A 3×3 rotation about one array axis, right-handed.

    >>> rotation(2, 90.0).round().tolist()
    [[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    """
    first, second = [(1, 2), (2, 0), (0, 1)][axis]
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    matrix = np.eye(3)
    matrix[[first, second], [first, second]] = cos
    matrix[first, second], matrix[second, first] = -sin, sin
    return matrix


def in_voxels(matrix_mm: NDArray[np.float64] | None, spacing_mm: Triple) -> NDArray[np.float64] | None:
    """A motion in millimetres as one in voxels, so that a rotation stays one on anisotropic voxels."""
    if matrix_mm is None:
        return None
    spacing = np.array(spacing_mm)
    scaled: NDArray[np.float64] = matrix_mm * spacing / spacing[:, None]
    return scaled


def _shear(offsets: NDArray[np.float64]) -> NDArray[np.float64]:
    matrix = np.eye(3)
    matrix[~np.eye(3, dtype=bool)] = offsets
    return matrix


def _check_ranges(augmentation: object) -> None:
    ranges = {name: value for name, value in vars(augmentation).items() if name.endswith("_range")}
    swapped = {f"augmentation.{name}": list(value) for name, value in ranges.items() if value[0] > value[1]}
    if swapped:
        raise ConfigError("a range must go from its lower to its upper end", facts=swapped)
