"""Takes a case's image files into a data set: read once to be sure that they are good, copied when asked."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from segpipe.datasets.loading import load_case
from segpipe.datasets.manifest import Entry
from segpipe.io.images.volumes import write_volume
from segpipe.labels import lesion_mask
from segpipe.lesions import find_components


def take_in(entry: Entry, labels: Mapping[int, str], folder: Path, *, copy: bool) -> Entry:
    """Reads a case to be sure that it is good, and copies it as NIfTI (int16 HU, uint8) when asked.

    Raises:
        SegpipeError: for a bad case.
    """
    case = load_case(entry, labels)
    facts: dict[str, Any] = {"spacing_mm": [round(mm, 4) for mm in case.grid.spacing_mm], "shape": case.grid.shape}
    if case.mask is not None:
        facts["lesions"] = find_components(lesion_mask(case.mask, labels)).count
    entry = replace(entry, extra={**(entry.extra or {}), **facts})
    if not copy:
        return entry
    hu = np.clip(np.rint(case.image), -(2**15), 2**15 - 1).astype(np.int16)
    image = write_volume(folder / "images" / f"{entry.id}.nii.gz", hu, case.grid)
    mask = None
    if case.mask is not None:
        mask = write_volume(folder / "masks" / f"{entry.id}.nii.gz", case.mask, case.grid)
    return replace(entry, image=image, mask=mask)
