"""Where nodules lie: free in the lung, on the pleura or on a vessel, and always apart from each other."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from segpipe.datasets.phantom.canvas import Axes
from segpipe.datasets.phantom.thorax import Thorax
from segpipe.datasets.phantom.vessels import HILUM_MM, Tubes

Place = Literal["isolated", "juxta-pleural", "juxta-vascular"]
PLACES: tuple[Place, ...] = ("isolated", "juxta-pleural", "juxta-vascular")
APART_MM = 8.0
FROM_HILUM_MM = 20.0
Points = NDArray[np.float64]
_TRIES = 400


@dataclass(frozen=True, eq=False)
class Sites:
    """The candidates of one thorax.

    Args:
        points: (n, 3) in mm inside the lungs, in random order.
        depth_mm: (n,) distance to the pleura.
        vessels: Vessel pieces that one would see.
        thorax: The lungs they lie in.
        axes: Of the thorax.
    """

    points: Points
    depth_mm: NDArray[np.float64]
    vessels: Tubes
    thorax: Thorax
    axes: Axes

    @classmethod
    def of(cls, thorax: Thorax, vessels: Tubes, axes: Axes, rng: np.random.Generator) -> "Sites":
        """Looks at every third voxel."""
        coarse = (slice(None, None, 2), slice(None, None, 3), slice(None, None, 3))
        inside = rng.permutation(np.argwhere(thorax.depth_mm[coarse] > 0.5)) * [2, 3, 3]
        depth = thorax.depth_mm[tuple(inside.T)].astype(np.float64)
        return cls(axes.to_mm(inside), depth, vessels.part(vessels.radius > 0.8), thorax, axes)

    def find(
        self, place: Place, radius_mm: float, taken: list[tuple[Points, float]], rng: np.random.Generator
    ) -> Points | None:
        """A centre for a nodule, apart from those that are there; None where no candidate fits."""
        candidates = self._on_vessels(radius_mm, rng) if place == "juxta-vascular" else self._in_lung(place, radius_mm)
        for centre in candidates[:_TRIES]:
            if self._fits(centre, radius_mm, taken) and (place != "isolated" or self._is_clear(centre, radius_mm)):
                return np.asarray(centre, dtype=np.float64)
        return None

    def _in_lung(self, place: Place, radius_mm: float) -> Points:
        low, high = (0.3 * radius_mm, 0.8 * radius_mm) if place == "juxta-pleural" else (radius_mm + 3, np.inf)
        return self.points[(self.depth_mm > low) & (self.depth_mm < high)]

    def _on_vessels(self, radius_mm: float, rng: np.random.Generator) -> Points:
        """Centres next to a vessel whose wall the nodule just touches."""
        thin = self.vessels.part(self.vessels.radius < 2.2)
        some = rng.integers(0, len(thin.radius), 4 * _TRIES)
        heading = np.cross(thin.direction[some], rng.standard_normal((len(some), 3)))
        heading /= np.maximum(np.linalg.norm(heading, axis=1, keepdims=True), 1e-6)
        centres = thin.centre[some] + heading * (0.9 * radius_mm + 0.5 * thin.radius[some])[:, None]
        return centres[self._depth_at(centres) > radius_mm + 1]

    def _depth_at(self, centres: Points) -> NDArray[np.float32]:
        index = np.clip(np.rint(self.axes.to_index(centres)), 0, np.array(self.axes.shape) - 1).astype(int)
        return np.asarray(self.thorax.depth_mm[tuple(index.T)], dtype=np.float32)

    def _fits(self, centre: Points, radius_mm: float, taken: list[tuple[Points, float]]) -> bool:
        hilum = np.array([np.copysign(HILUM_MM[0], centre[0]), *HILUM_MM[1:]])
        whole = self.axes.z[0] + 1.3 * radius_mm < centre[2] < self.axes.z[-1] - 1.3 * radius_mm
        free = np.linalg.norm(centre - hilum) > FROM_HILUM_MM + radius_mm
        apart = all(np.linalg.norm(centre - other) > 1.3 * (radius_mm + size) + APART_MM for other, size in taken)
        return bool(whole and free and apart)

    def _is_clear(self, centre: Points, radius_mm: float) -> bool:
        apart = np.linalg.norm(self.vessels.centre - centre, axis=1) - self.vessels.radius
        return bool(apart.min(initial=np.inf) > 1.2 * radius_mm + 1.0)
