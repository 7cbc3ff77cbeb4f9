"""A data set that a tiny network learns within a few steps."""

from pathlib import Path

import numpy as np

from segpipe.geometry import Grid
from segpipe.io.images.volumes import write_volume


def write_tiny_data(root: Path) -> None:
    """Ten scans of 40×40×24 voxels, each with one bright ball on a noisy dark ground."""
    rng = np.random.default_rng(0)
    grid = Grid((40, 40, 24), np.diag([1.0, 1.0, 1.5, 1.0]))
    axes = np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij")
    for number in range(10):
        centre = rng.uniform(12, 28), rng.uniform(12, 28), rng.uniform(8, 16)
        distance = np.sqrt(sum(((axis - c) * s) ** 2 for axis, c, s in zip(axes, centre, grid.spacing_mm, strict=True)))
        mask = distance < rng.uniform(4, 7)
        image = np.where(mask, 0, -850) + rng.normal(0, 30, grid.shape)
        write_volume(root / "images" / f"case_{number}.nii.gz", image.astype(np.int16), grid)
        write_volume(root / "masks" / f"case_{number}.nii.gz", mask.astype(np.uint8), grid)
