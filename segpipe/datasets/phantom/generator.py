"""One phantom case from a seed and a number: the patient, the nodules and the scan."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.datasets.phantom.body import Body
from segpipe.datasets.phantom.canvas import Axes
from segpipe.datasets.phantom.distractors import add_distractors
from segpipe.datasets.phantom.nodules import add_nodule, draw_nodule, solid_part
from segpipe.datasets.phantom.population import POPULATIONS, PhantomKind, Population
from segpipe.datasets.phantom.scanner import FIELD_MM, Protocol, place, scan, to_ras
from segpipe.datasets.phantom.sites import PLACES, Sites
from segpipe.datasets.phantom.thorax import paint_thorax
from segpipe.datasets.phantom.vessels import add_vessels
from segpipe.geometry import Grid

COUNT_SHARES = {2: 0.2, 3: 0.25, 4: 0.25, 5: 0.2, 6: 0.1}
PART_SOLID_SHARES = (0.3, 0.5, 0.2)
SOLID, GROUND_GLASS = 1, 2
EMPTY_EVERY = 9
_EMPTY_AT = 5
PLAIN = PhantomKind()


@dataclass(frozen=True, eq=False)
class PhantomCase:
    """A generated scan.

    Args:
        image: HU, int16.
        mask: uint8, 1 = nodule; or, where the parts are distinguished, 1 = solid and 2 = ground glass.
        grid: Of both.
        nodules: The truth about each: diameter, texture, shape, place and centre in RAS mm.
        distractors: Kind and centre of what looks like a nodule and is none.
    """

    image: NDArray[np.int16]
    mask: NDArray[np.uint8]
    grid: Grid
    nodules: list[dict[str, Any]]
    distractors: list[dict[str, Any]] = field(default_factory=list)


def generate_case(seed: int, number: int, kind: PhantomKind = PLAIN) -> PhantomCase:
    """Case `number` of the phantom `seed`, the same at every call.

    Args:
        seed: Of the phantom.
        number: From 0.
        kind: What it is like.
    """
    rng = np.random.default_rng([seed, number])
    body, protocol = Body.draw(rng), Protocol.draw(rng)
    axes = Axes.around(protocol.offset_mm, FIELD_MM, protocol.step_mm)
    thorax = paint_thorax(body, axes)
    vessels = add_vessels(thorax, axes, rng, blood_hu=body.blood_hu)
    sites = Sites.of(thorax, vessels, axes, rng)
    population = _population(kind)
    mask = np.zeros(axes.shape, dtype=np.uint8)
    taken: list[tuple[NDArray[np.float64], float]] = []
    truth: list[dict[str, Any]] = []
    for _ in range(_count(rng, number)):
        nodule = draw_nodule(rng, population, smallest_mm=1.7 * max(protocol.step_mm))
        where = PLACES[rng.choice(len(PLACES), p=population.place_shares)]
        centre = sites.find(where, nodule.radius_mm, taken, rng)
        if centre is not None:
            taken.append((centre, nodule.radius_mm))
            inside = add_nodule(thorax, nodule, centre, axes, rng)
            mask[inside] = SOLID
            if kind.part_solid:
                mask[inside & ~solid_part(nodule, centre, axes)] = GROUND_GLASS
            truth.append({**nodule.facts(), "place": where, "centre_mm": to_ras(centre, protocol)})
    distractors = (
        add_distractors(thorax, vessels, axes, taken, np.random.default_rng([seed, number, 1]))
        if kind.distractors
        else []
    )
    image, grid = place(scan(thorax, axes, protocol, rng), axes, protocol)
    for distractor in distractors:
        distractor["centre_mm"] = to_ras(distractor["centre_mm"], protocol)
    return PhantomCase(image, place(mask, axes, protocol)[0], grid, truth, distractors)


def _population(kind: PhantomKind) -> Population:
    chosen = POPULATIONS[kind.sizes]
    return replace(chosen, texture_shares=PART_SOLID_SHARES) if kind.part_solid else chosen


def _count(rng: np.random.Generator, number: int) -> int:
    count = int(rng.choice(list(COUNT_SHARES), p=list(COUNT_SHARES.values())))
    return 0 if number % EMPTY_EVERY == _EMPTY_AT else count
