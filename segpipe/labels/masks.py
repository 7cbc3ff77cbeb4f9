"""Masks of data sets: which value is the lesion, and which values there may be."""

import re
from collections.abc import Mapping
from functools import reduce
from operator import or_
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from segpipe.errors import LabelError
from segpipe.labels.label import IGNORED, is_lesion, plain_name

_WHOLE = 1e-3  # how far a whole number may be off; a probability is seldom so near to one in every voxel
Value = TypeVar("Value", bound=np.generic)
_LESION_NAME = re.compile("nodule|tumou?r|cancer|carcinoma|neoplasm|lesion|gtv", re.IGNORECASE)


def lesion_value(names: Mapping[int, str], wanted: str = "") -> int:
    """The mask value of a data set's lesions.

    It is the one named `wanted`, else the only one there is, else the one whose name speaks of a lesion.

    Args:
        names: Mask value → name.
        wanted: Name of the label; without one the lowest that speaks of a lesion is taken, or the lowest of all.

    >>> lesion_value({1: "lung", 2: "Tumor"}, "nodule"), lesion_value({1: "lung", 3: "nodule"}), lesion_value({4: "a"})
    (2, 3, 4)

    Raises:
        LabelError: when `wanted` is none of several labels, and not exactly one of them speaks of a lesion.
    """
    exact = [value for value, name in names.items() if name == wanted]
    lesion_like = [value for value, name in sorted(names.items()) if _LESION_NAME.search(name)]
    if wanted and not exact and len(names) > 1 and len(lesion_like) != 1:
        raise LabelError(
            "the data set does not have the recipe's label",
            facts={"wanted": wanted, "found": describe_names(names)},
            hint="choose another recipe.label or rename the label in the data set",
        )
    return (exact or lesion_like or sorted(lesion_names(names)))[0]


def lesion_names(names: Mapping[int, str]) -> dict[int, str]:
    """Those labels of a data set that are lesions, without knowing a recipe: value → name, in the order of values.

    They are those whose names speak of a lesion or of a part of one; where none does, all but what is ignored.

    >>> lesion_names({1: "lung", 2: "tumour", 3: "lymph node"}), lesion_names({2: "core", 1: "rim", 255: "ignore"})
    ({2: 'tumour', 3: 'lymph node'}, {1: 'rim', 2: 'core'})
    """
    outlined = {value: name for value, name in sorted(names.items()) if plain_name(name) != IGNORED}
    return {value: name for value, name in outlined.items() if is_lesion(name)} or outlined or dict(names)


def lesion_masks(mask: NDArray[np.uint8], names: Mapping[int, str]) -> dict[str, NDArray[np.bool_]]:
    """Where a mask of a data set holds each of its lesion labels, by name; see `lesion_names`."""
    first_names: dict[str, str] = {}
    values: dict[str, list[int]] = {}
    for value, name in lesion_names(names).items():
        values.setdefault(first_names.setdefault(plain_name(name), name), []).append(value)
    return {name: reduce(or_, [mask == value for value in own]) for name, own in values.items()}


def lesion_mask(mask: NDArray[np.uint8], names: Mapping[int, str]) -> NDArray[np.bool_]:
    """Where a mask of a data set holds any of its lesion labels."""
    return reduce(or_, lesion_masks(mask, names).values())


def whole_numbers(mask: NDArray[np.generic]) -> NDArray[np.generic] | None:
    """The mask with whole numbers, or None where it has fractions or NaN.

    A file that stores a mask with a slope, e.g. 255 times 1/255, gives 1.00000035 for 1.

    >>> whole_numbers(np.float32([0, 255]) * np.float32(1.0000004 / 255)).tolist(), whole_numbers(np.array([0.5]))
    ([0.0, 1.0], None)
    """
    if mask.dtype.kind != "f":
        return mask
    if not np.isfinite(mask).all():
        return None
    rounded = np.rint(mask)
    return rounded if (np.abs(mask - rounded) <= _WHOLE).all() else None


def parse_names(text: str) -> dict[int, str]:
    """Mask value → name, from the name of value 1 or from several with their values.

    >>> parse_names("nodule"), parse_names("1=solid, 2=ground glass")
    ({1: 'nodule'}, {1: 'solid', 2: 'ground glass'})

    Raises:
        LabelError: for anything else.
    """
    if "=" not in text:
        return {1: text.strip()}
    pairs = [word.partition("=") for word in text.split(",")]
    names = {int(value): name.strip() for value, _, name in pairs if value.strip().isdigit() and name.strip()}
    if len(names) < len(pairs) or 0 in names:
        raise LabelError(
            "labels are a name, or values and names",
            facts={"found": text, "wanted": "e.g. nodule, or 1=solid,2=ground glass; 0 is background"},
        )
    return names


def look_up(table: NDArray[Value], mask: NDArray[np.uint8]) -> NDArray[Value]:
    """The entry of `table` for every voxel; numpy's own `table[mask]` takes eight bytes more for each of them.

    >>> look_up(np.array([0, 7, 5]), np.array([[0, 2, 1]], np.uint8)).tolist()
    [[0, 5, 7]]
    """
    found = np.full_like(mask, table[0], dtype=table.dtype)
    for value in np.flatnonzero(table != table[0]):
        found[mask == value] = table[value]
    return found


def check_mask_values(mask: NDArray[np.generic], known: Mapping[int, str]) -> NDArray[np.uint8]:
    """Returns `mask` as uint8.

    Raises:
        LabelError: for fractional values or values that are neither 0 nor in `known`.
    """
    whole = whole_numbers(mask)
    values = np.unique(mask if whole is None else whole)
    foreign = [value for value in values.tolist() if value not in {0, *known}]
    if foreign:
        fractional = any(not float(value).is_integer() for value in foreign if np.isfinite(value))
        raise LabelError(
            "the mask holds fractional values" if fractional else "the mask holds values outside the label map",
            facts={
                "found": ", ".join(f"{value:g}" for value in foreign[:8]),
                "known": ", ".join(["0 background", *(f"{value} {name}" for value, name in known.items())]),
            },
            hint="map the mask's values to the label map before training or evaluation",
        )
    return np.asarray(whole).astype(np.uint8)


def describe_names(names: Mapping[int, str]) -> str:
    """The labels of a data set for a message, e.g. `1 lung, 2 nodule`."""
    return ", ".join(f"{value} {name}" for value, name in names.items())
