"""Crops whose borders do not show where their nodule ends.

Many crops of LIDC end in the slice in which the nodule ends, and where a scan ends its border repeats, so a network can
read the nodule's extent off the crop's. Here a crop goes on beyond its borders with its own surroundings, mirrored: its
lung, its vessels, its walls, its noise. Walls go on as walls and there is no seam. Of the nodule nothing is mirrored:
where it lies in the copy, there is what is nearest to it, without its noise, with noise like that of the crop's lung.

A nodule does not end all at once: the first slice beyond holds what it shows in the crop's last one, by a random share
of less than half, since with more of it the readers would have outlined it there, too. The nodule's voxels and its mask
stay as they are, unlike those of nodules that are put into other lungs.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segpipe.case import Case
from segpipe.datasets.implanting.donor import PARENCHYMA_HU
from segpipe.datasets.implanting.noise import make_noise, measure_noise
from segpipe.geometry import Grid, to_world
from segpipe.lesions import superior_axis

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]
MARGIN_MM = 40.0
"""A window of 34 mm around a click 6 mm away from the centre, and wider ones, end within it."""
EDGE_MM = 2.0
"""Beyond the mask, as far as a nodule's edge is blurred."""
MEDIAN = 5
"""Voxels along each axis of a slice; a median leaves walls as sharp as they are."""
LARGEST_SHARE = 0.5
"""Of a nodule in the first slice in which it is not outlined."""


def hide_borders(crop: Case, rng: np.random.Generator, *, margin_mm: float = MARGIN_MM) -> Case:
    """The crop within surroundings of `margin_mm`, made of its own; its voxels and its mask are the same.

    Args:
        crop: A scan around a nodule, with its mask.
        rng: Of the noise.
        margin_mm: Added on each side.
    """
    assert crop.mask is not None
    counts = [int(np.ceil(margin_mm / mm)) for mm in crop.grid.spacing_mm]
    pad = [(count, count) for count in counts]
    clean = without_nodule(crop, rng)
    hu = np.pad(clean, pad, mode="reflect")
    own = [slice(count, count + length) for count, length in zip(counts, crop.grid.shape, strict=True)]
    hu[tuple(own)] = crop.image
    vertical = superior_axis(crop.grid)
    for last, beyond in ((0, own[vertical].start - 1), (-1, own[vertical].stop)):
        place = tuple(beyond if axis == vertical else part for axis, part in enumerate(own))
        hu[place] += rng.uniform(0, LARGEST_SHARE) * (crop.image - clean).take(last, vertical)
    affine = crop.grid.affine.copy()
    affine[:3, 3] = to_world(affine, [-count for count in counts])
    x, y, z = hu.shape
    return Case(crop.id, hu, Grid((x, y, z), affine), np.pad(crop.mask, pad))


def without_nodule(crop: Case, rng: np.random.Generator) -> Image:
    """HU of the crop as if there were no nodule: what is nearest to it, with noise like the lung's."""
    assert crop.mask is not None
    hu, spacing_mm, vertical = crop.image.astype(np.float32), crop.grid.spacing_mm, superior_axis(crop.grid)
    gone: Mask = ndimage.distance_transform_edt(crop.mask == 0, sampling=spacing_mm) <= EDGE_MM
    if gone.all():
        return np.full_like(hu, np.mean(PARENCHYMA_HU))
    nearest = ndimage.distance_transform_edt(gone, sampling=spacing_mm, return_distances=False, return_indices=True)
    around = ndimage.median_filter(hu[tuple(nearest)], [1 if axis == vertical else MEDIAN for axis in range(3)])
    return np.where(gone, around + _noise(hu, ~gone, vertical, rng), hu)


def _noise(hu: Image, known: Mask, vertical: int, rng: np.random.Generator) -> Image | float:
    """Noise like that of the crop's lung tissue; none where there is too little of that to measure it."""
    low, high = PARENCHYMA_HU
    noise = measure_noise(hu, known & (hu > low) & (hu < high), vertical=vertical)
    return noise.sd_hu * make_noise(hu.shape, noise.correlation, vertical=vertical, rng=rng) if noise else 0.0
