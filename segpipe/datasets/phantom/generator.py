"""One phantom case from a seed and a number: the patient, the nodules and the scan."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.datasets.phantom.body import Body
from segpipe.datasets.phantom.canvas import Axes
from segpipe.datasets.phantom.nodules import TEXTURE_SHARES, add_nodule, draw_nodule, solid_part
from segpipe.datasets.phantom.scanner import FIELD_MM, Protocol, place, scan, to_ras
from segpipe.datasets.phantom.sites import PLACES, Sites
from segpipe.datasets.phantom.thorax import paint_thorax
from segpipe.datasets.phantom.vessels import add_vessels
from segpipe.geometry import Grid

COUNT_SHARES = {2: 0.2, 3: 0.25, 4: 0.25, 5: 0.2, 6: 0.1}
PLACE_SHARES = (0.5, 0.25, 0.25)
PART_SOLID_SHARES = (0.3, 0.5, 0.2)
SOLID, GROUND_GLASS = 1, 2
EMPTY_EVERY = 9
_EMPTY_AT = 5


@dataclass(frozen=True, eq=False)
class PhantomCase:
    """A generated scan.

    Args:
        image: HU, int16.
        mask: uint8, 1 = nodule; or, where the parts are distinguished, 1 = solid and 2 = ground glass.
        grid: Of both.
        nodules: The truth about each: diameter, texture, shape, place and centre in RAS mm.
    """

    image: NDArray[np.int16]
    mask: NDArray[np.uint8]
    grid: Grid
    nodules: list[dict[str, Any]]


def generate_case(seed: int, number: int, *, part_solid: bool = False) -> PhantomCase:
    """Case `number` of the phantom `seed`, the same at every call.

    Args:
        seed: Of the phantom.
        number: From 0.
        part_solid: Whether most nodules have ground glass, and the mask says it from what is solid.
    """
    rng = np.random.default_rng([seed, number])
    body, protocol = Body.draw(rng), Protocol.draw(rng)
    axes = Axes.around(protocol.offset_mm, FIELD_MM, protocol.step_mm)
    thorax = paint_thorax(body, axes)
    vessels = add_vessels(thorax, axes, rng, blood_hu=body.blood_hu)
    sites = Sites.of(thorax, vessels, axes, rng)
    shares = PART_SOLID_SHARES if part_solid else TEXTURE_SHARES
    mask = np.zeros(axes.shape, dtype=np.uint8)
    taken: list[tuple[NDArray[np.float64], float]] = []
    truth: list[dict[str, Any]] = []
    for _ in range(_count(rng, number)):
        nodule = draw_nodule(rng, smallest_mm=1.7 * max(protocol.step_mm), texture_shares=shares)
        where = PLACES[rng.choice(len(PLACES), p=PLACE_SHARES)]
        centre = sites.find(where, nodule.radius_mm, taken, rng)
        if centre is not None:
            taken.append((centre, nodule.radius_mm))
            inside = add_nodule(thorax, nodule, centre, axes, rng)
            mask[inside] = SOLID
            if part_solid:
                mask[inside & ~solid_part(nodule, centre, axes)] = GROUND_GLASS
            truth.append({**nodule.facts(), "place": where, "centre_mm": to_ras(centre, protocol)})
    image, grid = place(scan(thorax, axes, protocol, rng), axes, protocol)
    return PhantomCase(image, place(mask, axes, protocol)[0], grid, truth)


def _count(rng: np.random.Generator, number: int) -> int:
    count = int(rng.choice(list(COUNT_SHARES), p=list(COUNT_SHARES.values())))
    return 0 if number % EMPTY_EVERY == _EMPTY_AT else count
