"""What counted for the findings of a scan, as a map."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Explanation:
    """What counted for the findings of a scan.

    Args:
        name: The method; for a rating with its name.
        volume: On the scan's own grid, float32; 0 outside the windows around the findings. Where windows overlap, the
            value farther from 0.
        unit: What a value is.
    """

    name: str
    volume: NDArray[np.float32]
    unit: str
