"""A small data set of two classes: bright balls with a brighter core, learnt within a few steps."""

from pathlib import Path

import numpy as np

from segpipe.geometry import Grid
from segpipe.io.images.volumes import write_volume

GRID = Grid((40, 40, 24), np.diag([1.0, 1.0, 1.5, 1.0]))
RIM, CORE = 1, 2


def write_two_classes(root: Path, *, cases: int = 10) -> Path:
    """Scans of 40×40×24 voxels: a ball of −450 HU (1) around a core of 50 HU (2), and far from it a stripe of 255."""
    rng = np.random.default_rng(0)
    axes = np.meshgrid(*[np.arange(n) for n in GRID.shape], indexing="ij")
    for number in range(cases):
        centre = rng.uniform(14, 26), rng.uniform(14, 26), rng.uniform(9, 15)
        distance = np.sqrt(sum(((axis - c) * s) ** 2 for axis, c, s in zip(axes, centre, GRID.spacing_mm, strict=True)))
        radius = rng.uniform(7, 9)
        mask = np.select([distance < 0.6 * radius, distance < radius], [CORE, RIM], 0)
        image = np.select([mask == CORE, mask == RIM], [50, -450], -850) + rng.normal(0, 30, GRID.shape)
        mask[:, :2, :2] = 255
        write_volume(root / "images" / f"case_{number}.nii.gz", image.astype(np.int16), GRID)
        write_volume(root / "masks" / f"case_{number}.nii.gz", mask.astype(np.uint8), GRID)
    return root
