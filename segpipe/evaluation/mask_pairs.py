"""A pair of mask files, and which of their values count: all, one on either side, or several classes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from segpipe.errors import ConfigError, LabelError
from segpipe.evaluation.classes import evaluate_label_maps
from segpipe.evaluation.evaluate import evaluate_pair
from segpipe.evaluation.results import CaseResult
from segpipe.geometry import Grid
from segpipe.labels import LabelMap

Mask = NDArray[np.generic]


@dataclass(frozen=True)
class MaskPair:
    """Two mask files of one case.

    Args:
        case: The name both files have.
        prediction: The mask to evaluate.
        reference: The mask to compare it with.
        patient: Groups cases that are resampled together.
        extra: Further facts of the case, for strata.
    """

    case: str
    prediction: Path
    reference: Path
    patient: str
    extra: Mapping[str, Any] | None = None


class MaskValues(Protocol):
    """Which values of masks count, and as what."""

    def compare(self, pair: MaskPair, prediction: Mask, reference: Mask, grid: Grid) -> CaseResult:
        """The figures of a pair whose masks (x, y, z) were read on their common grid."""


@dataclass(frozen=True)
class Foreground:
    """One lesion class: which value counts on either side; None for every value but 0."""

    prediction: int | None = None
    reference: int | None = None

    def compare(self, pair: MaskPair, prediction: Mask, reference: Mask, grid: Grid) -> CaseResult:
        """See `MaskValues`."""
        given, wanted = _equal(prediction, self.prediction), _equal(reference, self.reference)
        return evaluate_pair(pair.case, pair.patient, given, wanted, grid, extra=pair.extra)


@dataclass(frozen=True)
class MaskClasses:
    """Several classes, by the values that both masks have for them; all other values are background.

    Args:
        values: Name of a class → its mask values. Classes that share values are regions that nest.
        ignore: Value of the reference's voxels that do not count, or None.

    Raises:
        LabelError: when the regions do not nest, naming all mistakes at once.
    """

    values: Mapping[str, tuple[int, ...]]
    ignore: int | None = None

    def __post_init__(self) -> None:
        if self.ignore is not None and self.ignore in self._codes:
            raise LabelError("the ignored value must not belong to a class", facts={"value": self.ignore})
        _ = self._labels

    @classmethod
    def parse(cls, words: Sequence[str], ignore: int | None = None) -> "MaskClasses":
        """Reads words such as `solid=1` and `nodule=1,2`.

        Raises:
            ConfigError: when a word is not of this form or a name comes twice.
        """
        pairs = [word.partition("=") for word in words]
        wrong = [
            word
            for word, (name, _, values) in zip(words, pairs, strict=True)
            if not name or not all(value.strip().isdecimal() and int(value) for value in values.split(","))
        ]
        names = [name for name, *_ in pairs]
        twice = sorted({name for name in names if names.count(name) > 1})
        if wrong or twice:
            raise ConfigError(
                "classes must be given as NAME=VALUE or NAME=VALUE,VALUE, each name once",
                facts={"found": " ".join([*wrong, *twice])},
                hint="e.g. --classes solid=1 ground_glass=2, or for regions that nest --classes nodule=1,2 core=2",
            )
        return cls({name: tuple(map(int, values.split(","))) for name, _, values in pairs}, ignore)

    def compare(self, pair: MaskPair, prediction: Mask, reference: Mask, grid: Grid) -> CaseResult:
        """See `MaskValues`."""
        given, wanted = self._recode(prediction), self._recode(reference)
        if self.ignore is not None:
            wanted[np.equal(reference, self.ignore)] = len(self._codes) + 1
        return evaluate_label_maps(
            pair.case, pair.patient, (given, wanted), grid, labels=self._labels, extra=pair.extra
        )

    @cached_property
    def _nested(self) -> bool:
        every = [value for values in self.values.values() for value in values]
        return len(set(every)) < len(every)

    @cached_property
    def _codes(self) -> dict[int, int]:
        """Mask value → value of the label map, which count from 1: one for each class, of regions for each value."""
        if self._nested:
            distinct = sorted({value for values in self.values.values() for value in values})
            return {value: code for code, value in enumerate(distinct, start=1)}
        return {value: code for code, values in enumerate(self.values.values(), start=1) for value in values}

    @cached_property
    def _labels(self) -> LabelMap:
        ignore = None if self.ignore is None else len(self._codes) + 1
        if not self._nested:
            return LabelMap.build(dict(enumerate(self.values, start=1)), ignore=ignore)
        regions = {name: [self._codes[value] for value in values] for name, values in self.values.items()}
        return LabelMap.build(
            {code: f"value {value}" for value, code in self._codes.items()}, regions=regions, ignore=ignore
        )

    def _recode(self, mask: Mask) -> NDArray[np.uint8]:
        recoded = np.zeros(mask.shape, dtype=np.uint8)
        for value, code in self._codes.items():
            recoded[np.equal(mask, value)] = code
        return recoded


def _equal(mask: Mask, value: int | None) -> Mask:
    return mask if value is None else np.equal(mask, value)
