"""The random motion of a patch as a MONAI transform: flips, rotations, size, shear and displacement, resampled once."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from monai.transforms import MapTransform, Randomizable
from numpy.typing import NDArray

from segpipe.preprocessing.augmentation.bounds import (
    AnyRange,
    Degrees,
    DisplacementMm,
    Keys,
    PositiveRange,
    Probability,
    checked,
)
from segpipe.preprocessing.augmentation.randomness import generator_of
from segpipe.preprocessing.augmentation.spatial import SpatialTransform, plan_reading, read_box
from segpipe.preprocessing.recipe import Triple

Matrix = NDArray[np.float64]
_CONTROL_POINTS = 5


class RandSpatiald(Randomizable, MapTransform):  # type: ignore[misc]
    """Moves an image linearly and its masks with it.

    As the first transform of an augmentation it decides which box of the scan is read, so that what moves into the
    patch is the scan and not its repeated border. Anywhere else, and in `monai.transforms.Compose`, it moves the arrays
    that it is given; these must then be as long along x as along y if there are quarter turns. A change whose
    probability is 0 draws no random number.

    Args:
        keys: The image (C, x, y, z), then its masks.
        flip_prob: Probability to flip, for each axis.
        rot90_prob: Probability of a turn by 90°, 180° or 270° in the axial plane, where its spacing is isotropic.
        rotate_prob: Probability of a rotation.
        rotate_degrees: Largest angle in the axial plane, either way.
        tilt_degrees: Largest angle about the other two axes, whenever there is a rotation.
        scale_prob: Probability of a change of size.
        scale_range: Factors by which structures grow.
        shear_prob: Probability of a shear.
        shear_range: Offsets per offset.
        displacement_prob: Probability of an elastic displacement.
        displacement_mm: Standard deviation of its control points, which lie a quarter of the patch apart.
    """

    @checked
    def __init__(
        self,
        keys: Keys = ("image", "label"),
        *,
        flip_prob: Probability = 0.0,
        rot90_prob: Probability = 0.0,
        rotate_prob: Probability = 0.0,
        rotate_degrees: Degrees = 0.0,
        tilt_degrees: Degrees = 0.0,
        scale_prob: Probability = 0.0,
        scale_range: PositiveRange = (1.0, 1.0),
        shear_prob: Probability = 0.0,
        shear_range: AnyRange = (0.0, 0.0),
        displacement_prob: Probability = 0.0,
        displacement_mm: DisplacementMm = 0.0,
    ) -> None:
        super().__init__(keys)
        self.flip_prob, self.rot90_prob = flip_prob, rot90_prob
        self.rotate_prob, self.angles = rotate_prob, (tilt_degrees, tilt_degrees, rotate_degrees)
        self.scale_prob, self.scale_range = scale_prob, scale_range
        self.shear_prob, self.shear_range = shear_prob, shear_range
        self.displacement_prob, self.displacement_mm = displacement_prob, displacement_mm

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the data with the image and its masks moved, as plain tensors."""
        image_key, *mask_keys = self.key_iterator(data)
        spacing = tuple(float(size) for size in getattr(data[image_key], "pixdim", (1.0, 1.0, 1.0)))
        motion = self.randomize((spacing[0], spacing[1], spacing[2]))
        moved = dict(data)
        for key in (image_key, *mask_keys):
            array = torch.as_tensor(data[key]).as_subclass(torch.Tensor)
            x, y, z = array.shape[1:]
            reading = plan_reading(motion, (0, 0, 0), motion.source_shape((x, y, z)))
            boxes = [read_box(channel, reading.low, reading.size) for channel in array]
            move = reading.image if key == image_key else reading.mask
            moved[key] = torch.stack([move(box) for box in boxes])
        return moved

    def randomize(self, spacing_mm: Triple) -> SpatialTransform:
        """Draws how a patch on a grid of `spacing_mm` is moved."""
        rng = generator_of(self.R)
        flips = tuple(axis for axis in range(3) if _happens(self.flip_prob, rng))
        turns = _happens(self.rot90_prob, rng) and np.isclose(spacing_mm[0], spacing_mm[1])
        rot90 = int(rng.integers(1, 4)) if turns else 0
        matrix = in_voxels(self._matrix_mm(rng), spacing_mm)
        return SpatialTransform(flips, rot90, matrix, self._displacement(rng, spacing_mm))

    def _matrix_mm(self, rng: np.random.Generator) -> Matrix | None:
        """Leads from an offset in the patch to the one in the scan, so that a larger scale divides."""
        matrix = None
        if _happens(self.rotate_prob, rng):
            matrix = _random_rotation(self.angles, rng)
        if _happens(self.scale_prob, rng):
            matrix = (np.eye(3) if matrix is None else matrix) / rng.uniform(*self.scale_range)
        if _happens(self.shear_prob, rng):
            matrix = (np.eye(3) if matrix is None else matrix) @ _shear(rng.uniform(*self.shear_range, size=6))
        return matrix

    def _displacement(self, rng: np.random.Generator, spacing_mm: Triple) -> NDArray[np.float32] | None:
        if not _happens(self.displacement_prob, rng):
            return None
        shape = (3, _CONTROL_POINTS, _CONTROL_POINTS, _CONTROL_POINTS)
        offsets_mm: NDArray[np.float64] = rng.normal(0.0, self.displacement_mm, shape)
        offsets: NDArray[np.float32] = (offsets_mm / np.reshape(spacing_mm, (3, 1, 1, 1))).astype(np.float32)
        return offsets


def rotation(axis: int, degrees: float) -> Matrix:
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


def in_voxels(matrix_mm: Matrix | None, spacing_mm: Triple) -> Matrix | None:
    """A motion in millimetres as one in voxels, so that a rotation stays one on anisotropic voxels."""
    if matrix_mm is None:
        return None
    spacing = np.array(spacing_mm)
    scaled: Matrix = matrix_mm * spacing / spacing[:, None]
    return scaled


def _happens(probability: float, rng: np.random.Generator) -> bool:
    return probability > 0 and rng.random() < probability


def _random_rotation(limits: Triple, rng: np.random.Generator) -> Matrix:
    if limits[0] == 0:
        return rotation(2, rng.uniform(-limits[2], limits[2]))
    x, y, z = (rotation(axis, rng.uniform(-limit, limit)) for axis, limit in enumerate(limits))
    return z @ y @ x


def _shear(offsets: NDArray[np.float64]) -> Matrix:
    matrix = np.eye(3)
    matrix[~np.eye(3, dtype=bool)] = offsets
    return matrix
