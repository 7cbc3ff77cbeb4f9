"""Everything that can be wrong with one case, looked at in one reading of its files."""

import hashlib
from collections.abc import Iterable, Mapping
from functools import reduce
from operator import or_
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.case import Case, Volume
from segpipe.datasets.manifest import Entry
from segpipe.datasets.quality.issues import CaseQuality, Issue
from segpipe.datasets.quality.thumbnails import draw_thumbnail
from segpipe.errors import SegpipeError
from segpipe.geometry import Grid, axis_directions, describe_apart, to_voxel, to_world
from segpipe.io.images.volumes import read_volume
from segpipe.labels import check_mask_values, lesion_masks
from segpipe.lesions import label_lesions
from segpipe.preprocessing.lungs import find_lungs

AIR_HU, BODY_HU = -500, -300
THINNEST_LESION_HU = -800.0
LARGEST_LESION_SHARE = 0.5
_COARSE_MM = 3.0
Mask = NDArray[np.bool_]


def check_case(entry: Entry, labels: Mapping[int, str]) -> CaseQuality:
    """Reads a case and reports all that is wrong with it; never raises for a bad file."""
    issues: list[Issue] = []
    image = _read(entry, "image", issues)
    mask = _read(entry, "mask", issues) if entry.mask else None
    if entry.mask is None:
        issues.append(Issue("warning", "no mask", "there is no mask; the case cannot train or test", {}, entry.id))
    lesions = _lesions(entry, mask, labels, issues)
    if image is None:
        return CaseQuality(entry.id, tuple(issues), {})
    if mask is not None and not image.grid.matches(mask.grid):
        facts = describe_apart(image=image.grid, mask=mask.grid)
        issues.append(Issue("error", "grids differ", "image and mask are not on the same grid", facts, entry.id))
        lesions = {}
    drawn = reduce(or_, lesions.values()) if lesions else np.zeros(image.array.shape, dtype=np.bool_)
    issues += _check_scan(entry, image, drawn)
    digest = hashlib.sha256(np.ascontiguousarray(image.array).tobytes()).hexdigest()
    return CaseQuality(entry.id, tuple(issues), _facts(image, drawn, lesions), digest, draw_thumbnail(image, drawn))


def _read(entry: Entry, part: str, issues: list[Issue]) -> Volume | None:
    try:
        return read_volume(getattr(entry, part))
    except SegpipeError as error:
        issues.append(Issue("error", f"unreadable {part}", error.message, _plain(error), entry.id))
        return None


def _lesions(entry: Entry, mask: Volume | None, labels: Mapping[int, str], issues: list[Issue]) -> Mapping[str, Mask]:
    """Where the lesions of each label are; where labels are wrong, all that is outlined as one."""
    if mask is None:
        return {}
    try:
        values = check_mask_values(mask.array, labels)
    except SegpipeError as error:
        issues.append(Issue("error", "bad labels", error.message, _plain(error), entry.id))
        return {"foreground": np.asarray(np.nan_to_num(mask.array) > 0, dtype=np.bool_)}
    lesions = lesion_masks(values, labels)
    if not any(inside.any() for inside in lesions.values()):
        issues.append(Issue("warning", "empty mask", "the mask has no lesion", {}, entry.id))
    return lesions


def _check_scan(entry: Entry, image: Volume, lesion: Mask) -> Iterable[Issue]:
    try:
        case = Case(entry.id, image.array, image.grid)
    except SegpipeError as error:
        yield Issue("error", "bad voxels", error.message, _plain(error), entry.id)
        return
    yield from _check_values(entry, image)
    yield from _check_lesions(case, lesion)


def _check_values(entry: Entry, image: Volume) -> Iterable[Issue]:
    """Whether the numbers can be HU."""
    low, high = float(image.array.min()), float(image.array.max())
    facts = {"lowest": f"{low:g}", "highest": f"{high:g}"}
    if low >= 0 and high <= 255:
        yield Issue("error", "not HU", "the values are those of a picture, not HU", facts, entry.id)
    elif low >= 0:
        message = "the values start at 0; HU start near -1024 (was the rescale intercept lost?)"
        yield Issue("error", "not HU", message, facts, entry.id)
    elif high - low < 200:
        yield Issue("warning", "not HU", "the values span too little for a CT", facts, entry.id)
    elif low > AIR_HU:
        yield Issue("warning", "no air", "there is neither air nor lung in the scan", facts, entry.id)


def _check_lesions(case: Case, lesion: Mask) -> Iterable[Issue]:
    """Whether the mask can belong to this scan."""
    if not lesion.any():
        return
    share, density = float(lesion.mean()), float(np.median(case.image[lesion].astype(np.float32)))
    if share > LARGEST_LESION_SHARE:
        message = "the lesion fills most of the scan; is the mask inverted?"
        yield Issue("warning", "huge lesion", message, {"share": f"{share:.0%}"}, case.id)
    if density < THINNEST_LESION_HU:
        message = "the lesion is as thin as lung; is the mask shifted or mirrored?"
        yield Issue("warning", "lesion like lung", message, {"median": f"{density:.0f} HU"}, case.id)
    lungs = find_lungs(case)
    if lungs is None:
        return  # a crop, where body and lungs cannot be distinguished
    if _share(lesion, case.grid, lungs.mask) < 0.5:
        body = find_body(case)
        if _share(lesion, case.grid, body) < 0.5:
            message = "the lesion lies outside the body; is the mask from another series?"
            yield Issue("error", "lesion outside the body", message, {}, case.id)
        else:
            message = "most of the lesion lies outside the lungs and what is between and around them"
            yield Issue("warning", "lesion outside the lungs", message, {}, case.id)


def find_body(case: Case) -> Volume:
    """The largest thing denser than lung, filled in each axial slice, on a coarse grid in the scan's space."""
    from scipy import ndimage

    steps = [max(1, round(_COARSE_MM / mm)) for mm in case.grid.spacing_mm]
    coarse: NDArray[Any] = case.image[:: steps[0], :: steps[1], :: steps[2]]
    dense = coarse > BODY_HU
    pieces, count = ndimage.label(dense)
    largest = pieces == 1 + np.argmax(np.bincount(pieces.ravel(), minlength=count + 2)[1:])
    vertical = next(axis for axis, (world, _) in enumerate(axis_directions(case.grid.affine)) if world == 2)
    slices = [ndimage.binary_fill_holes(plane) for plane in np.moveaxis(largest, vertical, 0)]
    filled = np.moveaxis(np.stack(slices), 0, vertical)
    grid = Grid((filled.shape[0], filled.shape[1], filled.shape[2]), case.grid.affine @ np.diag([*steps, 1]))
    return Volume(filled, grid)


def _share(lesion: Mask, grid: Grid, region: Volume) -> float:
    """Share of a lesion's voxels inside a region on another grid."""
    positions = to_world(grid.affine, np.argwhere(lesion))
    index = np.clip(np.rint(to_voxel(region.grid.affine, positions)), 0, np.array(region.grid.shape) - 1).astype(int)
    return float(np.mean(region.array[tuple(index.T)] > 0))


def _plain(error: SegpipeError) -> dict[str, str]:
    """What an error found; the case is named next to it, and paths may reveal who."""
    return {name: str(value) for name, value in error.facts.items() if name not in ("case", "file")}


def _facts(image: Volume, lesion: Mask, classes: Mapping[str, Mask]) -> dict[str, Any]:
    grid = image.grid
    finite = image.array[np.isfinite(image.array)] if image.array.dtype.kind == "f" else image.array
    return {
        "shape": list(grid.shape),
        "spacing_mm": [round(mm, 4) for mm in grid.spacing_mm],
        "extent_mm": [round(mm, 1) for mm in grid.extent_mm],
        "orientation": grid.orientation,
        "lowest_hu": float(finite.min()) if finite.size else None,
        "highest_hu": float(finite.max()) if finite.size else None,
        **_measure(lesion, grid),
        **({"classes": _class_facts(image, classes)} if len(classes) > 1 else {}),
    }


def _measure(lesion: Mask, grid: Grid) -> dict[str, Any]:
    _, count = label_lesions(lesion)
    return {"lesions": count, "lesion_mm3": round(float(lesion.sum() * grid.voxel_volume_mm3), 1)}


def _class_facts(image: Volume, classes: Mapping[str, Mask]) -> dict[str, dict[str, Any]]:
    """Of each label how many lesions there are, how large they are together, and their median HU."""

    def median_hu(inside: Mask) -> float | None:
        return float(np.median(image.array[inside].astype(np.float32))) if inside.any() else None

    return {name: {**_measure(inside, image.grid), "median_hu": median_hu(inside)} for name, inside in classes.items()}
