"""Lungs to put nodules into, and crops around nodules of every kind; small, and with noise as a scanner makes it."""

import numpy as np

from segpipe.case import Case
from segpipe.datasets.implanting.noise import make_noise
from segpipe.geometry import Grid, to_world
from segpipe.io.images.volumes import write_volume

LUNG_HU, TISSUE_HU = -860.0, 40.0


def lungs(seed=0, *, spacing=(2.5, 2.5, 3.0), sd=20.0, vessels=True):
    """A case: a body with two lungs of 2 litres together, straight vessels in them, and no lesion."""
    shape = tuple(round(length / mm) for length, mm in zip((240, 180, 156), spacing, strict=True))
    grid = Grid(shape, np.diag([*spacing, 1.0]))
    x, y, z = np.moveaxis(to_world(grid.affine, np.moveaxis(np.indices(shape), 0, -1)), -1, 0)
    hu = np.where(((x - 120) / 115) ** 2 + ((y - 90) / 85) ** 2 < 1, TISSUE_HU, -1000.0)
    for centre in (70, 170):
        hu[((x - centre) / 42) ** 2 + ((y - 90) / 62) ** 2 + ((z - 78) / 70) ** 2 < 1] = LUNG_HU
        for height in (50, 80, 110) if vessels else ():
            hu[(np.abs(x - centre) < 40) & ((y - 90) ** 2 + (z - height) ** 2 < 4**2)] = TISSUE_HU
    noise = sd * make_noise(shape, 0.4, vertical=2, rng=np.random.default_rng(seed))
    return Case(f"lungs_{seed}", np.rint(hu + noise).astype(np.int16), grid)


def crop(diameter_mm=8.0, *, hu=TISSUE_HU, spacing=(0.7, 0.7, 1.25), sd=20.0, seed=0, near=None):
    """A case of a crop around a ball with soft edges, as a scanner blurs them; `near` adds a vessel or a wall."""
    size = (diameter_mm / 2 + 9) * 2
    shape = tuple(int(np.ceil(size / mm)) for mm in spacing)
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = (17.0, -40.0, 900.0)
    grid = Grid(shape, affine)
    middle = to_world(affine, (np.array(shape) - 1) / 2)
    offset = to_world(affine, np.moveaxis(np.indices(shape), 0, -1)) - middle
    distance = np.linalg.norm(offset, axis=-1) - diameter_mm / 2
    image = LUNG_HU + (hu - LUNG_HU) * np.clip(0.5 - distance / 1.4, 0, 1)
    if near == "vessel":
        image[(np.hypot(offset[..., 0], offset[..., 2]) < 2.2) & (offset[..., 1] > 0)] = TISSUE_HU
    if near == "wall":
        image[offset[..., 0] > diameter_mm / 2 - 0.5] = TISSUE_HU
    image += sd * make_noise(shape, 0.4, vertical=2, rng=np.random.default_rng(seed))
    return Case(f"crop_{seed}", image.astype(np.float32), grid, (distance < 0).astype(np.uint8))


def write_cases(folder, cases):
    """Writes `images/`, and `masks/` of those that have one."""
    for case in cases:
        write_volume(folder / "images" / f"{case.id}.nii.gz", np.rint(case.image).astype(np.int16), case.grid)
        if case.mask is not None:
            write_volume(folder / "masks" / f"{case.id}.nii.gz", case.mask, case.grid)
