"""The corruptions by name, each with what five severities of it are, in which unit, and whence."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from segpipe.case import Case
from segpipe.corruptions.graded import Graded
from segpipe.corruptions.motion import motion
from segpipe.corruptions.noise import arms_down, lower_dose
from segpipe.corruptions.planes import Planes, from_case, to_case
from segpipe.corruptions.posing import cover_less, rotate, tilt
from segpipe.corruptions.resolution import coarser_matrix, other_kernel, thicker_slices
from segpipe.corruptions.streaks import metal
from segpipe.corruptions.tissue import contrast
from segpipe.corruptions.values import clip_values, coarser_values, compress, offset_hu, scale_hu
from segpipe.errors import ConfigError
from segpipe.spelling import nearest

Change = Callable[[Planes, float, np.random.Generator], Planes]


@dataclass(frozen=True)
class Corruption(Graded):
    """One way in which a scan is worse than those that a network was trained on.

    Args:
        change: Planes, level and generator → planes.
        moves: Whether lesions change their place or shape; such a one is no augmentation of a patch.
    """

    change: Change
    moves: bool = False

    def apply(self, case: Case, severity: int, *, seed: int = 0) -> Case:
        """The case after it; the same case and seed draw the same for every severity."""
        changed = self.change(from_case(case), self.level(severity), self.generator(case, seed))
        return to_case(changed, case)


_ALL = (
    Corruption("low_dose", (0.5, 0.25, 0.125, 0.06, 0.03), "of the dose",
               "screening takes a quarter, ultra-low dose 3 to 10 % of a diagnostic chest CT (AAPM; NLST)", lower_dose),
    Corruption("arms_down", (60, 90, 120, 150, 180), "mm of arms beside the chest",
               "two upper arms of 90 mm at most", arms_down),
    Corruption("soft_kernel", (1 / 1.5, 1 / 2.5, 1 / 4, 1 / 7, 1 / 12), "times at 0.5 cycles per mm",
               "the last one is from a lung to a body kernel", other_kernel),
    Corruption("sharp_kernel", (1.5, 2.5, 4, 7, 12), "times at 0.5 cycles per mm",
               "the last one is from a body to a lung kernel", other_kernel),
    Corruption("thick_slices", (2.0, 3.0, 5.0, 7.5, 10.0), "mm",
               "slices in use; LIDC has up to 5 mm", thicker_slices),
    Corruption("coarse_matrix", (0.9, 1.2, 1.6, 2.0, 2.5), "mm a pixel",
               "512² of 460 mm, 256² of 400 mm, and coarser", coarser_matrix),
    Corruption("motion", (1, 2, 3, 5, 8), "mm in half a turn",
               "heart and diaphragm move 5 to 40 mm a second; half a turn takes 0.15 to 0.25 s", motion),
    Corruption("metal", (1.0, 1.5, 2.0, 3.0, 4.0), "mm radius of two rods",
               "leads, screws and rods", metal),
    Corruption("contrast", (50, 100, 150, 250, 350), "HU of blood",
               "venous phase about 100, arterial 250 to 350", contrast),
    Corruption("offset", (10, 20, 40, 70, 100), "HU",
               "the ACR accepts water within 7 HU and air within 40", offset_hu),
    Corruption("scale", (1, 2, 4, 7, 10), "% of the distance from air",
               "scanners and tube voltages differ by up to 5 %", scale_hu),
    Corruption("bit_depth", (8, 16, 32, 64, 128), "HU a step",
               "9 to 5 bits for 4096 HU", coarser_values),
    Corruption("clipping", (1600, 1400, 1200, 1000, 800), "HU around −500",
               "windows of exported pictures", clip_values),
    Corruption("compression", (8, 15, 30, 60, 120), "times smaller (JPEG 2000)",
               "8 to 15 times are accepted for chest CT (ESR, Insights into Imaging 2 (2011) 103-115)", compress),
    Corruption("rotation", (3, 6, 10, 15, 25), "degrees about the long axis",
               "a patient who lies askew", rotate, moves=True),
    Corruption("tilt", (3, 6, 10, 15, 20), "degrees from front to back",
               "gantries tilt by up to 30", tilt, moves=True),
    Corruption("partial_coverage", (85, 70, 55, 40, 25), "% of the slices",
               "scans of heart, neck or abdomen show a part of the lungs", cover_less, moves=True),
)  # fmt: skip
CORRUPTIONS = {one.name: one for one in _ALL}


def find_corruption(name: str) -> Corruption:
    """The corruption of this name.

    Raises:
        ConfigError: when there is none.
    """
    if name in CORRUPTIONS:
        return CORRUPTIONS[name]
    near = nearest(name, CORRUPTIONS)
    hint = f"did you mean {near}?" if near else None
    raise ConfigError("no such corruption", facts={"found": name, "known": ", ".join(CORRUPTIONS)}, hint=hint)


def corrupt(case: Case, name: str, severity: int, *, seed: int = 0) -> Case:
    """A case after a corruption; the same case, name and seed draw the same for every severity.

    Args:
        case: A scan, with its mask if it has one.
        name: One of `CORRUPTIONS`.
        severity: 1 to 5.
        seed: Of everything that is drawn.

    Raises:
        ConfigError: for an unknown name or severity.
    """
    return find_corruption(name).apply(case, severity, seed=seed)
