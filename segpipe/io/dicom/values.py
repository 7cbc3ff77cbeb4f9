"""Values of DICOM attributes on which no voxel depends, e.g. a thickness: one that is garbled counts as missing."""

import math
from typing import Any

from pydicom.dataset import Dataset


def text_of(dataset: Dataset, keyword: str) -> str:
    """The value as text, several joined by backslashes as in the file; empty where there is none."""
    value = _value(dataset, keyword)
    several = [] if value is None else [value] if isinstance(value, str) else _as_list(value)
    return "\\".join(str(one) for one in several)


def number_of(dataset: Dataset, keyword: str) -> float | None:
    """The value as a finite number; None where there is none, or several."""
    try:
        value = float(_value(dataset, keyword))
    except (TypeError, ValueError, OverflowError):
        return None
    return value if math.isfinite(value) else None


def whole_of(dataset: Dataset, keyword: str) -> int:
    """The value as a whole number; 0 where there is none."""
    value = number_of(dataset, keyword)
    return int(value) if value is not None else 0


def items_of(dataset: Dataset, keyword: str) -> list[Dataset]:
    """The items of a sequence; none where it cannot be read."""
    return [item for item in _as_list(_value(dataset, keyword)) if isinstance(item, Dataset)]


def _value(dataset: Dataset, keyword: str) -> Any:
    try:
        return dataset.get(keyword)
    except Exception:  # pydicom converts a value when it is asked for, and fails in many ways
        return None


def _as_list(value: Any) -> list[Any]:
    try:
        return list(value)
    except TypeError:
        return [] if value is None else [value]
