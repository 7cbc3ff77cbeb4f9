"""From the maps of uncertainty to figures of findings."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from segpipe.inference.findings import Finding
from segpipe.inference.measurements.uncertainty import FindingUncertainty
from segpipe.inference.window.uncertainty_maps import STEPS, UncertaintyMaps
from segpipe.labels import LabelMap
from segpipe.lesions import find_components


def add_uncertainty(
    findings: Sequence[Finding], mask: NDArray[np.uint8], maps: UncertaintyMaps, labels: LabelMap
) -> list[Finding]:
    """The same findings, each with how sure the network is of it.

    Args:
        findings: All of the mask's.
        mask: Holds the findings and nothing else.
        maps: On the mask's grid.
        labels: The classes.
    """
    figures = []
    for number in range(len(labels.classes)):
        components = find_components(labels.class_mask(mask, number))
        for component, part in enumerate(components.parts, start=1):
            inside = components.voxels(component).inside
            means = (float(volume[part][inside].mean()) / STEPS for volume in (maps.entropy, maps.information))
            figures.append(FindingUncertainty(*means))
    return [replace(finding, uncertainty=known) for finding, known in zip(findings, figures, strict=True)]
