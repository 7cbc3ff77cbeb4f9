"""Crops whose borders do not show where their nodule ends.

Many crops of LIDC end in the slice in which the nodule ends, and where a scan ends its border repeats, so a network can
read the nodule's extent off the crop's. Here what lies at the border of a crop goes on beyond it, with fresh noise like
that of the crop's lung: lung, vessels, and walls, which would be lumps of their own if the crop were mirrored. Of the
nodule nothing goes on: in its place there is what is nearest to it.

A nodule does not end all at once: the first slice beyond holds what it shows in the crop's last one, by a random share
of less than half, since with more of it the readers would have outlined it there, too. The nodule's voxels and its mask
stay as they are, unlike those of nodules that are put into other lungs.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segpipe.case import Case
from segpipe.datasets.implanting.donor import PARENCHYMA_HU
from segpipe.datasets.implanting.noise import Noise, make_noise, measure_noise
from segpipe.geometry import Grid, to_world
from segpipe.lesions import superior_axis

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]
MARGIN_MM = 40.0
"""A window of 34 mm around a click 6 mm away from the centre, and wider ones, end within it."""
EDGE_MM = 2.0
"""Beyond the mask, as far as a nodule's edge is blurred."""
MEDIANS = (5, 3)
"""Voxels along each axis of a slice, in the nodule's place and at the border; a median leaves walls as sharp."""
LARGEST_SHARE = 0.5
"""Of a nodule in the first slice in which it is not outlined."""


def hide_borders(crop: Case, rng: np.random.Generator, *, margin_mm: float = MARGIN_MM) -> Case:
    """The crop within surroundings of `margin_mm`; its own voxels and its mask are the same.

    Args:
        crop: A scan around a nodule, with its mask.
        rng: Of the noise.
        margin_mm: Added on each side.
    """
    counts = [int(np.ceil(margin_mm / mm)) for mm in crop.grid.spacing_mm]
    pad = [(count, count) for count in counts]
    own = [slice(count, count + length) for count, length in zip(counts, crop.grid.shape, strict=True)]
    calm, noise = without_nodule(crop)
    vertical = superior_axis(crop.grid)
    hu = np.pad(_median(calm, MEDIANS[1], vertical), pad, mode="edge")
    if noise:
        hu += noise.sd_hu * make_noise(hu.shape, noise.correlation, vertical=vertical, rng=rng)
    hu[tuple(own)] = crop.image
    for last, beyond in ((0, own[vertical].start - 1), (-1, own[vertical].stop)):
        place = tuple(beyond if axis == vertical else part for axis, part in enumerate(own))
        hu[place] += rng.uniform(0, LARGEST_SHARE) * (crop.image - calm).take(last, vertical)
    affine = crop.grid.affine.copy()
    affine[:3, 3] = to_world(affine, [-count for count in counts])
    x, y, z = hu.shape
    return Case(crop.id, hu, Grid((x, y, z), affine), np.pad(mask_of(crop), pad))


def without_nodule(crop: Case) -> tuple[Image, Noise | None]:
    """HU of the crop with what is nearest to the nodule in its place, and the noise of the crop's lung."""
    hu, spacing_mm, vertical = crop.image.astype(np.float32), crop.grid.spacing_mm, superior_axis(crop.grid)
    gone: Mask = ndimage.distance_transform_edt(mask_of(crop) == 0, sampling=spacing_mm) <= EDGE_MM
    if gone.all():
        return np.full_like(hu, np.mean(PARENCHYMA_HU)), None
    low, high = PARENCHYMA_HU
    noise = measure_noise(hu, ~gone & (hu > low) & (hu < high), vertical=vertical)
    nearest = ndimage.distance_transform_edt(gone, sampling=spacing_mm, return_distances=False, return_indices=True)
    return np.where(gone, _median(hu[tuple(nearest)], MEDIANS[0], vertical), hu), noise


def mask_of(crop: Case) -> NDArray[np.uint8]:
    """The mask of a crop, which has one."""
    assert crop.mask is not None
    return crop.mask


def _median(hu: Image, count: int, vertical: int) -> Image:
    """The median within slices, without noise."""
    filtered: Image = ndimage.median_filter(hu, [1 if axis == vertical else count for axis in range(3)])
    return filtered
