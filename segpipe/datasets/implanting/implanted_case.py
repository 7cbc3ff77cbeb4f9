"""One case of implanted nodules: a host, the nodules that are put into it, and what became of each."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.case import Case
from segpipe.datasets.implanting.blending import blend
from segpipe.datasets.implanting.donor import Donor, cut_donor
from segpipe.datasets.implanting.sites import Ball, LungSites
from segpipe.datasets.loading import load_lesions
from segpipe.datasets.manifest import Entry
from segpipe.errors import SegpipeError
from segpipe.geometry import FloatArray
from segpipe.io.images.volumes import write_volume
from segpipe.labels import NODULE
from segpipe.lesions import find_components, measure_components

DONORS_PER_IMPLANT = 8
"""So many nodules are tried for each that is wanted; big ones and those at walls do not fit into every host."""
RATINGS = ("texture", "malignancy", "subtlety", "calcification", "spiculation", "lobulation", "margin")
Names = Mapping[int, str]


@dataclass(frozen=True)
class CaseRequest:
    """What a case is made of; plain data, since it is made in another process.

    Args:
        id: Of the case.
        group: See `deal_groups`.
        host: The scan.
        nodules: Those that it may get.
        names: Mask value → name, of the hosts and of the nodules.
        wanted: How many nodules to put in.
        seed: Two numbers and the version of the host.
    """

    id: str
    group: str
    host: Entry
    nodules: tuple[Entry, ...]
    names: tuple[Names, Names]
    wanted: int
    seed: tuple[int, int]


def write_implanted(request: CaseRequest, folder: Path) -> Entry:
    """Makes a case and writes its image and mask below a folder.

    Raises:
        SegpipeError: when the host cannot be read or shows no lungs; nodules that cannot be used are named instead.
    """
    host = load_lesions(request.host, request.names[0])
    seed, version = request.seed
    rng = np.random.default_rng([seed, version, int(hashlib.sha256(request.host.id.encode()).hexdigest()[:8], 16)])
    unusable: list[str] = []
    donors = _draw_donors(request, rng, unusable)
    image, mask, implants = implant(host, donors, wanted=request.wanted, rng=rng)
    entry = Entry(
        id=request.id,
        patient=request.group,
        image=write_volume(folder / "images" / f"{request.id}.nii.gz", image, host.grid),
        mask=write_volume(folder / "masks" / f"{request.id}.nii.gz", mask, host.grid),
    )
    facts: dict[str, Any] = {
        "spacing_mm": [round(mm, 4) for mm in host.grid.spacing_mm],
        "lesions": find_components(mask).count,
        "host": request.host.id,
        "wanted": request.wanted,
        "implants": implants,
    }
    return replace(entry, extra={**facts, **({"unusable": unusable} if unusable else {})})


def implant(
    host: Case, donors: Iterable[tuple[Entry, Donor]], *, wanted: int, rng: np.random.Generator
) -> tuple[NDArray[np.int16], NDArray[np.uint8], list[dict[str, Any]]]:
    """Puts nodules into a host, one after another, each at a place of its own.

    Args:
        host: A scan, and the lesions that are known in it; the rest of its lungs is taken to be healthy.
        donors: Nodules to try, in this order.
        wanted: How many are to find a place.
        rng: Of the places.

    Returns:
        HU, the mask with the host's lesions and the implants as 1, and the facts of each implant.

    Raises:
        ImageError: for a host without lungs.
    """
    image = np.clip(np.rint(host.image), -(2**15), 2**15 - 1).astype(np.int16)
    mask = np.zeros(image.shape, dtype=np.uint8) if host.mask is None else (host.mask > 0).astype(np.uint8)
    facts: list[dict[str, Any]] = []
    if not wanted:
        return image, mask, facts
    sites = LungSites.of(replace(host, image=image.copy()))
    noise = sites.noise()
    taken = _lesion_balls(mask, host)
    changed = replace(host, image=image)  # the same array, so each nodule sees those before it
    for entry, donor in donors:
        pose = sites.find(donor, taken, rng)
        made = blend(changed, donor, pose, noise=noise, rng=rng) if pose else None
        if pose is None or made is None:
            continue
        image[made.box] = np.clip(np.rint(made.hu), image.min(), 2**15 - 1).astype(np.int16)
        mask[made.box][made.inside] = NODULE.value
        taken.append(Ball(pose.centre_mm, donor.reach_mm))
        facts.append(_facts(entry, donor, pose.centre_mm, made.added_noise_hu))
        if len(facts) == wanted:
            break
    return image, mask, facts


def _draw_donors(request: CaseRequest, rng: np.random.Generator, unusable: list[str]) -> Iterator[tuple[Entry, Donor]]:
    for index in rng.permutation(len(request.nodules))[: DONORS_PER_IMPLANT * request.wanted]:
        entry = request.nodules[index]
        try:
            yield entry, cut_donor(load_lesions(entry, request.names[1]), rng)
        except SegpipeError:
            unusable.append(entry.id)


def _lesion_balls(mask: NDArray[np.uint8], host: Case) -> list[Ball]:
    lesions = measure_components(find_components(mask), host.grid)
    return [Ball(np.array(lesion.centre_mm), lesion.longest_diameter_mm / 2) for lesion in lesions]


def _facts(entry: Entry, donor: Donor, centre_mm: FloatArray, noise: float) -> dict[str, Any]:
    x, y, z = (round(float(mm), 2) for mm in centre_mm)
    known = {name: value for name in RATINGS if (value := (entry.extra or {}).get(name)) is not None}
    return {
        "nodule": entry.id,
        "diameter_mm": round(donor.diameter_mm, 2),
        "volume_mm3": round(donor.volume_mm3, 1),
        "place": donor.place,
        "centre_mm": [x, y, z],
        "added_noise_hu": round(noise, 1),
        **known,
    }
