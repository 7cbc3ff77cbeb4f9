"""Masks of data sets: which value is the lesion, and which values there may be."""

import re
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from segpipe.errors import LabelError

_LESION_NAME = re.compile("nodule|tumou?r|cancer|carcinoma|neoplasm|lesion|gtv", re.IGNORECASE)


def lesion_value(names: Mapping[int, str], wanted: str = "") -> int:
    """The mask value of a data set's lesions.

    It is the one named `wanted`, else the only one there is, else the one whose name tells of a lesion.

    Args:
        names: Mask value → name.
        wanted: Name of the label; without one the lowest that tells of a lesion is taken, or the lowest of all.

    >>> lesion_value({1: "lung", 2: "Tumor"}, "nodule"), lesion_value({1: "lung", 3: "nodule"}), lesion_value({4: "a"})
    (2, 3, 4)

    Raises:
        LabelError: when `wanted` is none of several labels, and not exactly one of them tells of a lesion.
    """
    exact = [value for value, name in names.items() if name == wanted]
    telling = [value for value, name in sorted(names.items()) if _LESION_NAME.search(name)]
    if wanted and not exact and len(names) > 1 and len(telling) != 1:
        raise LabelError(
            "the data set does not have the recipe's label",
            facts={"wanted": wanted, "found": describe_names(names)},
            hint="choose another recipe.label or rename the label in the data set",
        )
    return (exact or telling or sorted(names))[0]


def check_mask_values(mask: NDArray[np.generic], known: Mapping[int, str]) -> NDArray[np.uint8]:
    """Returns `mask` as uint8.

    Raises:
        LabelError: for fractional values or values that are neither 0 nor in `known`.
    """
    values = np.unique(mask)
    foreign = [value for value in values.tolist() if value not in {0, *known}]
    if foreign:
        fractional = any(value != int(value) for value in foreign if np.isfinite(value))
        raise LabelError(
            "the mask holds fractional values" if fractional else "the mask holds values outside the label map",
            facts={
                "found": ", ".join(f"{value:g}" for value in foreign[:8]),
                "known": ", ".join(["0 background", *(f"{value} {name}" for value, name in known.items())]),
            },
            hint="map the mask's values to the label map before training or evaluation",
        )
    return mask.astype(np.uint8)


def describe_names(names: Mapping[int, str]) -> str:
    """The labels of a data set for a message, e.g. `1 lung, 2 nodule`."""
    return ", ".join(f"{value} {name}" for value, name in names.items())
