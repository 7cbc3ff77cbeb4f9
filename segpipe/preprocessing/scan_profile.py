"""What a scan itself measures, whatever is found in it: sizes, densities of lung and tissue, and noise."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from segpipe.case import Case, Volume
from segpipe.geometry import axis_directions, sizes_along_world
from segpipe.preprocessing.lungs import find_lung_air

QUANTITIES: Mapping[str, str] = {
    "pixel_mm": "pixel size, mm",
    "slice_mm": "distance of slices, mm",
    "width_mm": "right to left, mm",
    "depth_mm": "front to back, mm",
    "height_mm": "along the body, mm",
    "tissue_low_hu": "tissue, 5 % below, HU",
    "tissue_hu": "tissue, median, HU",
    "tissue_high_hu": "tissue, 5 % above, HU",
    "lungs": "lungs found, 1 or 0",
    "lung_low_hu": "lung, 5 % below, HU",
    "lung_hu": "lung, median, HU",
    "lung_high_hu": "lung, 5 % above, HU",
    "noise_hu": "noise in tissue, HU",
}
"""What is measured, in words."""
_TISSUE_HU = -250.0
_PERCENTILES = (5, 50, 95)
_NORMAL = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""
_COARSE = 4
_FEWEST = 100


def profile_scan(case: Case) -> dict[str, float]:
    """Measures a scan; what it does not have, e.g. lungs in a crop, is left out.

    Noise is that of the difference of neighbouring pixels of tissue, over √2: from dose and kernel, not from anatomy,
    of which the median takes no notice.
    """
    spacing, extent = sizes_along_world(case.grid)
    found = {"pixel_mm": spacing[0], "slice_mm": spacing[2]}
    found |= dict(zip(("width_mm", "depth_mm", "height_mm"), extent, strict=True))
    coarse = case.image[tuple(slice(None, None, max(1, min(_COARSE, size // 16))) for size in case.image.shape)]
    found |= _percentiles("tissue", coarse[np.greater(coarse, _TISSUE_HU)])
    air = find_lung_air(case)
    found["lungs"] = float(air is not None)
    if air is not None:
        found |= _percentiles("lung", _at(case, air))
    found |= _noise(case)
    return {name: float(value) for name, value in found.items()}


def _percentiles(what: str, values: NDArray[np.generic]) -> dict[str, float]:
    if len(values) < _FEWEST:
        return {}
    ends = np.percentile(values.astype(np.float32), _PERCENTILES)
    names = (f"{what}_low_hu", f"{what}_hu", f"{what}_high_hu")
    return dict(zip(names, ends, strict=True))


def _at(case: Case, air: Volume) -> NDArray[np.generic]:
    """The scan's values where a mask on a coarse grid, whose voxels are some of the scan's, is True."""
    ratios = np.array(air.grid.spacing_mm) / np.array(case.grid.spacing_mm)
    x, y, z = (slice(None, None, round(ratio)) for ratio in ratios)
    return case.image[x, y, z][air.array.astype(np.bool_)]


def _noise(case: Case) -> dict[str, float]:
    in_plane = next(axis for axis, (world, _) in enumerate(axis_directions(case.grid.affine)) if world == 0)
    pixels = np.moveaxis(case.image, in_plane, 0)[:, ::2, ::2].astype(np.float32)
    tissue = pixels > _TISSUE_HU
    both = tissue[1:] & tissue[:-1]
    differences = np.abs(pixels[1:] - pixels[:-1])[both]
    if len(differences) < _FEWEST:
        return {}
    return {"noise_hu": _NORMAL * float(np.median(differences)) / np.sqrt(2)}
