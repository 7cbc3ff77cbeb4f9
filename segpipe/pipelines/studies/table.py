"""The raw table of a study: a line for each row that was trained."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from segpipe.system.files.csv_table import write_csv

COLUMNS = (
    "row", "candidate", "variant", "lr", "seed", "state", "steps", "pseudo_dice", "dice", "dice_low", "dice_high",
    "ms_per_step", "state_bytes_per_weight", "command",
)  # fmt: skip
Line = Mapping[str, Any]


def write_table(lines: Sequence[Line], folder: Path) -> Path:
    """Writes `study.csv`."""
    return write_csv(folder / "study.csv", lines, COLUMNS, what="the table of the study")
