"""Label maps: what a mask's values mean, how they are drawn and how radiology systems name them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from segpipe.errors import LabelError


@dataclass(frozen=True)
class Code:
    """A coded concept, e.g. SNOMED CT 39607008 «Lung»."""

    scheme: str
    value: str
    meaning: str


@dataclass(frozen=True)
class Label:
    """One foreground label: its value in the mask, its name, its colour (RGB, 0–255) and its coded concepts."""

    value: int
    name: str
    colour: tuple[int, int, int]
    category: Code
    type: Code
    anatomy: Code


_MORPHOLOGY = Code("SCT", "49755003", "Morphologically Abnormal Structure")
_LUNG = Code("SCT", "39607008", "Lung")
NODULE = Label(1, "nodule", (230, 85, 13), _MORPHOLOGY, Code("SCT", "27925004", "Nodule"), _LUNG)
TUMOUR = Label(1, "tumour", (215, 48, 39), _MORPHOLOGY, Code("SCT", "108369006", "Neoplasm"), _LUNG)
_LESION_NAME = re.compile("nodule|tumou?r|cancer|carcinoma|neoplasm|lesion|gtv", re.IGNORECASE)
KNOWN_LABELS = {label.name: label for label in (NODULE, TUMOUR)}


@dataclass(frozen=True)
class LabelMap:
    """The foreground labels of a task; 0 is always background.

    >>> LabelMap.of("nodule").names
    {1: 'nodule'}
    """

    labels: tuple[Label, ...] = field(default=(NODULE,))

    @classmethod
    def of(cls, name: str) -> "LabelMap":
        """The label map of one known foreground label, `nodule` or `tumour`.

        Raises:
            LabelError: for a name that is not known.
        """
        if name not in KNOWN_LABELS:
            raise LabelError("unknown label name", facts={"found": name, "known": ", ".join(KNOWN_LABELS)})
        return cls((KNOWN_LABELS[name],))

    @property
    def names(self) -> dict[int, str]:
        """Mask value → name, without the background."""
        return {label.value: label.name for label in self.labels}

    @property
    def channels(self) -> int:
        """Channels of a network for this map: one per label and one for the background."""
        return len(self.labels) + 1


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
            facts={"wanted": wanted, "found": ", ".join(f"{value} {name}" for value, name in names.items())},
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
