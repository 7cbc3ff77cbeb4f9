"""Label maps: what a mask's values mean, how they are drawn and how radiology systems name them."""

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
