"""Says how much of each scan a crop to the lungs keeps, and which scans stay whole because no lungs were found."""

import logging
from collections.abc import Sequence
from pathlib import Path

from segpipe.preprocessing.cache.cached_case import CachedCase
from segpipe.system.files.csv_table import write_csv

log = logging.getLogger(__name__)
_COLUMNS = ("case", "lungs", "kept_fraction")


def report_lung_crop(cases: Sequence[CachedCase], folder: Path) -> Path:
    """Logs the share of the volume that is kept, in total and by case, and writes `lung_crop.csv` into the run folder.

    Args:
        cases: Prepared by a recipe that crops to the lungs.
        folder: The run folder.
    """
    rows = [{"case": case.id, "lungs": _word(case), "kept_fraction": f"{_share(case):.4f}"} for case in cases]
    file = write_csv(folder / "lung_crop.csv", rows, _COLUMNS, what="the table of lung crops")
    shares = [_share(case) for case in cases]
    log.info(
        "lung crop: %.0f %% of the volume of %d scans is kept, %.0f to %.0f %% by case; see %s",
        *(100 * total_share(cases), len(cases), 100 * min(shares), 100 * max(shares), file.name),
    )
    whole = [case.id for case in cases if case.lung_share is None]
    if whole:
        shown = ", ".join(whole[:8]) + (" …" if len(whole) > 8 else "")
        log.warning("lung crop: no lungs found in %d scans, which are used whole: %s", len(whole), shown)
    return file


def total_share(cases: Sequence[CachedCase]) -> float:
    """Kept volume over whole volume, of all scans together."""
    kept = [case.grid.voxel_volume_mm3 * float(_voxels(case)) for case in cases]
    whole = [volume / _share(case) for volume, case in zip(kept, cases, strict=True)]
    return sum(kept) / sum(whole)


def _share(case: CachedCase) -> float:
    return 1.0 if case.lung_share is None else case.lung_share


def _word(case: CachedCase) -> str:
    return "none found" if case.lung_share is None else "found"


def _voxels(case: CachedCase) -> int:
    x, y, z = case.grid.shape
    return x * y * z
