"""A coarse copy of a scan that stays next to its results, so that a later scan can be aligned with it."""

from pathlib import Path

import numpy as np

from segpipe.case import Case, Volume
from segpipe.errors import ImageError
from segpipe.geometry import Grid, to_world
from segpipe.io.images.volumes import read_volume, write_volume

RECORDS = ".segpipe"
"""The hidden folder next to results, for what later calls need."""
THUMBNAIL_MM = 4.0


def make_thumbnail(case: Case) -> Volume:
    """Means over blocks of about 4 mm, int16 HU; blocks that the scan does not fill are left out."""
    steps = [max(1, round(THUMBNAIL_MM / spacing)) for spacing in case.grid.spacing_mm]
    steps = [min(step, count) for step, count in zip(steps, case.grid.shape, strict=True)]
    x, y, z = (count // step for count, step in zip(case.grid.shape, steps, strict=True))
    coarse = np.empty((x, y, z), dtype=np.int16)
    for number in range(z):
        slab = case.image[: x * steps[0], : y * steps[1], number * steps[2] : (number + 1) * steps[2]]
        plane = slab.mean(axis=2, dtype=np.float32)
        blocks = plane.reshape(x, steps[0], y, steps[1]).mean(axis=(1, 3))
        coarse[:, :, number] = np.clip(np.round(blocks), -(2**15), 2**15 - 1)
    affine = case.grid.affine.copy()
    affine[:3, :3] *= steps
    affine[:3, 3] = to_world(case.grid.affine, [(step - 1) / 2 for step in steps])
    return Volume(coarse, Grid((x, y, z), affine))


def write_thumbnail(case: Case, folder: Path) -> Path:
    """Writes the thumbnail into the hidden folder of the output folder."""
    volume = make_thumbnail(case)
    return write_volume(folder / RECORDS / f"{case.id}.nii.gz", volume.array, volume.grid)


def read_thumbnail(findings: Path) -> Volume:
    """Reads the thumbnail of the scan whose `NAME.json` this is.

    Raises:
        ImageError: when it is not there.
    """
    file = findings.parent / RECORDS / f"{findings.stem}.nii.gz"
    if not file.is_file():
        raise ImageError(
            "the scan's thumbnail is missing",
            facts={"findings": findings, "thumbnail": file},
            hint="give the NAME.json where predict wrote it, with its folder .segpipe; or predict that scan again",
        )
    return read_volume(file)
