"""The measurements of a finding that its ratings are predicted from, besides its crop."""

from collections.abc import Callable
from math import log

import numpy as np
from numpy.typing import NDArray

from segpipe.inference.findings import Finding

_BRIGHTEST_HU = 600.0
"""What is brighter is calcified; how bright says more of kernel and slices."""
_INPUTS: dict[str, Callable[[Finding], float]] = {
    "log_equivalent_diameter": lambda finding: log(finding.equivalent_diameter_mm),
    "log_axial_diameter": lambda finding: log(finding.axial_diameter_mm),
    "perpendicular_to_axial": lambda finding: finding.perpendicular_diameter_mm / finding.axial_diameter_mm,
    "equivalent_to_longest": lambda finding: finding.equivalent_diameter_mm / finding.longest_diameter_mm,
    "equivalent_to_mean": lambda finding: finding.equivalent_diameter_mm / finding.mean_diameter_mm,
    "mean_hu": lambda finding: finding.mean_hu,
    "p5_hu": lambda finding: finding.p5_hu,
    "median_hu": lambda finding: finding.median_hu,
    "p95_hu": lambda finding: min(finding.p95_hu, _BRIGHTEST_HU),
    "solid_fraction": lambda finding: finding.solid_fraction,
}
MEASUREMENTS = tuple(_INPUTS)
"""Their names: sizes, proportions and attenuation."""


def measurement_row(finding: Finding) -> NDArray[np.float32]:
    """The measurements of a finding, in the order of `MEASUREMENTS`."""
    return np.array([measure(finding) for measure in _INPUTS.values()], dtype=np.float32)
