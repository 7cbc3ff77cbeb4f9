"""The build of one made-up patient: a few lengths in mm and densities in HU, drawn once per case."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Pair = tuple[float, float]
RIB_PITCH_MM = 24.0


@dataclass(frozen=True)
class Body:
    """Lengths in mm in a frame whose origin lies between the lungs; x to the right, y to the front, z upwards.

    Args:
        skin: Half-axes of the body's outline.
        cage: Half-axes of the rib cage's inner wall.
        cage_y: Centre of the rib cage.
        spine_y: Centre of the vertebral bodies.
        top: Height of the lungs' tops.
        domes: Height of the diaphragm on the right and on the left.
        dome_depth: How far the diaphragm falls towards the chest wall.
        heart: Half-axes of the heart.
        heart_centre: Centre of the heart.
        blood_hu: Of heart and vessels; higher with contrast medium.
        lung_hu: Of lung tissue half-way between front and back.
        phase: Where along z the first vertebra lies.
    """

    skin: Pair
    cage: Pair
    cage_y: float
    spine_y: float
    top: float
    domes: Pair
    dome_depth: float
    heart: tuple[float, float, float]
    heart_centre: tuple[float, float, float]
    blood_hu: float
    lung_hu: float
    phase: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Body":
        """A new patient."""
        size = rng.uniform(0.94, 1.04)
        cage = (float(113 * size * rng.uniform(0.97, 1.03)), float(75 * size * rng.uniform(0.96, 1.04)))
        fat = rng.uniform(0, 8)
        right_dome = float(rng.uniform(-46, -34))
        return cls(
            skin=(cage[0] + float(24 + fat), cage[1] + float(20 + fat)),
            cage=cage,
            cage_y=0.0,
            spine_y=-cage[1] + float(rng.uniform(20, 24)),
            top=float(rng.uniform(74, 84)),
            domes=(right_dome, right_dome - float(rng.uniform(4, 14))),
            dome_depth=float(rng.uniform(36, 46)),
            heart=(float(rng.uniform(50, 58)), float(rng.uniform(36, 42)), float(rng.uniform(38, 44))),
            heart_centre=(
                float(rng.uniform(-24, -16)),
                float(rng.uniform(16, 22)),
                right_dome + float(rng.uniform(6, 14)),
            ),
            blood_hu=float(rng.choice([42.0, 42.0, rng.uniform(120, 260)])),
            lung_hu=float(rng.uniform(-880, -840)),
            phase=float(rng.uniform(0, RIB_PITCH_MM)),
        )

    def cage_scale(self, z: float) -> float:
        """How much smaller the rib cage is towards the neck; 0 above the lungs' tops."""
        rise = (z - 5.0) / (self.top - 5.0)
        return float(np.sqrt(max(0.0, 1.0 - rise**2))) ** 0.8 if rise > 0 else 1.0

    def dome(self, x: NDArray[np.float32], y: NDArray[np.float32]) -> NDArray[np.float32]:
        """Height of the diaphragm over the plane, (nx, ny)."""
        right, left = (self._half_dome(x, y, side, top) for side, top in zip((1, -1), self.domes, strict=True))
        return np.where(x > 0, right, left).astype(np.float32)

    def _half_dome(self, x: NDArray[np.float32], y: NDArray[np.float32], side: int, top: float) -> NDArray[np.float32]:
        across = (x - side * 0.47 * self.cage[0]) / (0.55 * self.cage[0])
        along = (y - self.cage_y - 8.0) / (0.98 * self.cage[1])
        level = across**2 + along**2
        return (top - self.dome_depth * level**1.25).astype(np.float32)
