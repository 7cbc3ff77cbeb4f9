"""Puts a nodule into a scan: resampled, freed of its own lung tissue, faded out at its edge, its noise matched.

A voxel of a nodule is a mixture of its tissue and of lung tissue, also at its edge, where the scanner's blur mixes
them. So its share of tissue g is taken over, not its HU: where the nodule was g·tissue + (1 - g)·lung, the host becomes
g·tissue + (1 - g)·host. In lung tissue like the nodule's own this gives the nodule's own HU; the host's vessels show
through ground glass; nothing gets denser than its densest part. The share is faded out beyond the nodule's blurred
edge, so that there is no seam whatever surrounded it; what is no more than noise in the nodule's own lung is not taken
along, so that the noise of two scans does not add up around it.

Source:
    Pezeshk et al. 2017, "Seamless lesion insertion for data augmentation in CAD training", IEEE TMI 36(4) 1005, doi
    10.1109/TMI.2016.2640180, blend gradients (Poisson editing). That shifts the nodule's density to what surrounds it
    in the host; a nodule whose size and density are the truth must keep them, so densities are mixed here.
    Robins et al. 2017, "Techniques for virtual lung nodule insertion", Physics in Medicine & Biology 62(18) 7280,
    compare a crop that is blended into the image (their technique C) with insertion into the projections.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segpipe.case import Case
from segpipe.datasets.implanting.donor import Donor
from segpipe.datasets.implanting.noise import Noise, make_noise, measure_noise
from segpipe.geometry import FloatArray, to_voxel, to_world
from segpipe.lesions import find_components, superior_axis

FULL_MM, GONE_MM = 1.0, 3.5
"""Distances from the mask up to which a nodule counts in full, and from which on it does not count."""
TISSUE_HU = 60.0
_NOISE_SDS = 2.0  # up to as many standard deviations all is noise, from twice as many on nothing
_FINER = 3
_SAME = (1, 1, 1)
_PAD = 4  # voxels of nothing around the crop, so that it ends within them wherever it was cut

Image = NDArray[np.float32]
Box = tuple[slice, slice, slice]


@dataclass(frozen=True, eq=False)
class Pose:
    """Where a nodule goes and how it is turned.

    Args:
        centre_mm: Where its centre comes to lie in the host, (3,).
        turn: Orthogonal matrix (3, 3): direction in the nodule's scan → direction in the host.
    """

    centre_mm: FloatArray
    turn: FloatArray

    def to_donor(self, points_mm: FloatArray, donor: Donor) -> FloatArray:
        """Positions (…, 3) of the host as positions of the nodule's scan."""
        return np.asarray((points_mm - self.centre_mm) @ self.turn + donor.centre_mm, dtype=np.float64)

    def to_host(self, offsets_mm: FloatArray) -> FloatArray:
        """Positions (…, 3) in the host of points that are given relative to the nodule's centre."""
        return np.asarray(offsets_mm @ self.turn.T + self.centre_mm, dtype=np.float64)


@dataclass(frozen=True, eq=False)
class Implant:
    """A nodule in a host.

    Args:
        box: The part of the host that changes.
        hu: Its new HU, float32.
        inside: Its voxels that are nodule.
        added_noise_hu: Standard deviation of the noise that was added where the nodule is solid.
    """

    box: Box
    hu: Image
    inside: NDArray[np.bool_]
    added_noise_hu: float


def blend(host: Case, donor: Donor, pose: Pose, *, noise: Noise | None, rng: np.random.Generator) -> Implant | None:
    """Puts a nodule into a host.

    The mask takes as many voxels of the host as come nearest to the nodule's own volume, those that it covers most.

    Args:
        host: The scan; it is not changed.
        donor: The nodule.
        pose: Where it goes.
        noise: The host's; None adds none.
        rng: Of the noise that is added.

    Returns:
        The changed part, or None where the nodule would not lie in the host as a whole.
    """
    box = _footprint(host, donor, pose)
    if box is None:
        return None
    before = host.image[box].astype(np.float32)
    hu, weight, cover, tissue = _resampled(host, donor, pose, box)
    share = weight * _tissue_share(hu, donor.background_hu, before)
    after = before + share * (_densest(hu, before) - before)
    vertical = superior_axis(host.grid)
    own = measure_noise(hu, tissue, vertical=vertical)
    sd = _missing_noise(share, weight, noise, own or noise)
    if noise and sd.any():
        after += sd * make_noise(after.shape, noise.correlation, vertical=vertical, rng=rng)
    count = max(1, round(donor.volume_mm3 / host.grid.voxel_volume_mm3))
    return Implant(box, after, _most_covered(cover, count), float(sd.max()))


def _footprint(host: Case, donor: Donor, pose: Pose) -> Box | None:
    """The host's voxels that the nodule and its fading edge may touch; None where they are not all in the host."""
    reach = donor.half_extent_mm + GONE_MM + max(host.grid.spacing_mm)
    corners = np.array(np.meshgrid(*[(-mm, mm) for mm in reach], indexing="ij")).reshape(3, -1).T
    voxels = to_voxel(host.grid.affine, pose.to_host(corners))
    low, high = np.floor(voxels.min(axis=0)).astype(int), np.ceil(voxels.max(axis=0)).astype(int) + 1
    if (low < 0).any() or (high > host.grid.shape).any():
        return None
    x, y, z = (slice(int(start), int(stop)) for start, stop in zip(low, high, strict=True))
    return x, y, z


def _resampled(host: Case, donor: Donor, pose: Pose, box: Box) -> tuple[Image, Image, Image, NDArray[np.bool_]]:
    """The nodule on the host's voxels, each of which averages what it spans, as the host's thicker slices would.

    Returns:
        HU, weight of the nodule (1 in it, 0 away from it), share of each voxel inside its mask, and its lung tissue.
    """
    background = np.float32(donor.background_hu)
    excess = donor.hu - background
    fine, finer = _finer(excess, donor)
    arrays = [
        (np.pad(fine, [(_PAD * step, _PAD * step) for step in finer]), finer),
        (np.pad(_weight(donor.distance_mm) * _beyond_noise(excess, donor), _PAD), _SAME),
        (np.pad(donor.inside.astype(np.float32), _PAD), _SAME),
        (np.pad(donor.parenchyma.astype(np.float32), _PAD), _SAME),
    ]
    positions = _sample_positions(host, donor, pose, box)
    hu, alpha, cover, lung = (_sampled(array, positions, steps) for array, steps in arrays)
    return hu + background, alpha, cover, lung > 0.99


def _finer(excess_hu: Image, donor: Donor) -> tuple[Image, tuple[int, ...]]:
    """The crop on a grid that is finer within slices, by splines: linear interpolation then takes no sharpness away.

    Across slices it stays as it is, since splines swing where a crop ends with its nodule.

    Returns:
        The finer crop, and how many of its voxels there are to one along each axis.
    """
    steps = tuple(1 if axis == superior_axis(donor.grid) else _FINER for axis in range(3))
    factors = [((count - 1) * step + 1) / count for count, step in zip(excess_hu.shape, steps, strict=True)]
    return np.asarray(ndimage.zoom(excess_hu, factors, order=3, mode="nearest"), dtype=np.float32), steps


def _sampled(array: Image, positions: list[FloatArray], steps: tuple[int, ...]) -> Image:
    """The mean over the samples of each voxel of the host."""
    scale = np.reshape(steps, (3, 1, 1, 1))
    found = [ndimage.map_coordinates(array, at * scale, order=1, mode="nearest") for at in positions]
    return np.asarray(np.mean(found, axis=0), dtype=np.float32)


def _sample_positions(host: Case, donor: Donor, pose: Pose, box: Box) -> list[FloatArray]:
    """Fractional indices (3, x, y, z) in the padded crop of samples of the host's voxels."""
    steps = _samples_per_axis(host, donor, pose)
    lines = [np.arange(part.start, part.stop, dtype=np.float64) for part in box]
    indices = np.stack(np.meshgrid(*lines, indexing="ij"), axis=-1)
    offsets = [(np.arange(count) + 0.5) / count - 0.5 for count in steps]
    found = []
    for offset in np.stack(np.meshgrid(*offsets, indexing="ij"), axis=-1).reshape(-1, 3):
        world = to_world(host.grid.affine, indices + offset)
        found.append(np.moveaxis(to_voxel(donor.grid.affine, pose.to_donor(world, donor)) + _PAD, -1, 0))
    return found


def _samples_per_axis(host: Case, donor: Donor, pose: Pose) -> list[int]:
    """How many of the nodule's voxels a voxel of the host spans along each of its axes."""
    directions = np.linalg.solve(donor.grid.affine[:3, :3], pose.turn.T @ host.grid.affine[:3, :3])
    return [max(1, round(float(np.abs(column).max()))) for column in directions.T]


def _weight(distance_mm: FloatArray) -> Image:
    """1 up to `FULL_MM` from the mask, 0 from `GONE_MM` on, without a kink in between."""
    t = np.clip((GONE_MM - distance_mm) / (GONE_MM - FULL_MM), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), dtype=np.float32)


def _beyond_noise(excess_hu: Image, donor: Donor) -> Image:
    """0 for densities that are the nodule's lung tissue and its noise, 1 for those far beyond it."""
    noise = measure_noise(donor.hu, donor.parenchyma, vertical=superior_axis(donor.grid))
    if noise is None or not noise.sd_hu:
        return np.ones_like(excess_hu)
    t = np.clip(np.abs(excess_hu) / np.float32(_NOISE_SDS * noise.sd_hu) - 1, 0, 1)
    return np.asarray(t * t * (3 - 2 * t), dtype=np.float32)


def _densest(hu: Image, before: Image) -> Image:
    return np.maximum(np.maximum(hu, before), np.float32(TISSUE_HU))


def _tissue_share(hu: Image, background_hu: float, before: Image) -> Image:
    """Share g of tissue in the nodule's voxels, so that in lung like its own they keep their HU."""
    share: Image = (hu - np.float32(background_hu)) / (_densest(hu, before) - np.float32(background_hu))
    return share


def _missing_noise(share: Image, weight: Image, host: Noise | None, own: Noise | None) -> Image:
    """Standard deviation of the noise to add, so that there is nowhere less than in the host.

    What is left of the host's noise is 1 - share of it; the nodule brings its own, weighted.
    """
    if host is None or own is None:
        return np.zeros_like(share)
    left = (host.sd_hu * (1 - share)) ** 2 + (own.sd_hu * weight) ** 2
    return np.sqrt(np.maximum(host.sd_hu**2 - left, 0)).astype(np.float32)


def _most_covered(cover: Image, count: int) -> NDArray[np.bool_]:
    """The `count` voxels of the largest cover that hang together; equal ones in the order of their indices."""
    inside = _largest(cover, count, among=cover > 0)
    components = find_components(inside)
    if components.count > 1:
        inside[:] = False
        inside[tuple(components.indices(1).T)] = True
    while (missing := count - int(np.count_nonzero(inside))) > 0:
        edge = ndimage.binary_dilation(inside, np.ones((3, 3, 3))) & ~inside
        if not edge.any():
            break
        inside |= _largest(cover, missing, among=edge)
    return inside


def _largest(cover: Image, count: int, *, among: NDArray[np.bool_]) -> NDArray[np.bool_]:
    chosen = np.argsort(np.where(among, -cover, np.inf), axis=None, kind="stable")
    chosen = chosen[: min(count, np.count_nonzero(among))]
    inside = np.zeros(cover.size, dtype=np.bool_)
    inside[chosen] = True
    return inside.reshape(cover.shape)
