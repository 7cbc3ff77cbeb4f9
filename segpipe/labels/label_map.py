"""Which classes a network distinguishes and what a mask's values mean."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from segpipe.errors import LabelError, numbered
from segpipe.labels.label import IGNORED, NODULE, Label, make_label, plain_name
from segpipe.labels.masks import describe_names, lesion_value, look_up

MOST_CLASSES = 16
LARGEST_VALUE = 255


@dataclass(frozen=True)
class LabelMap:
    """The classes of a task; 0 is always background.

    Either the classes exclude each other, or they are regions, each inside the one before it. A mask on disk is a label
    map in both cases: a voxel has the value of the innermost region that holds it, so nothing is lost.

    Args:
        classes: What the network outputs, in this order; regions from the outermost to the innermost.
        names: Mask value → name of what a data set for this task outlines; regions are made up of these.
        exclusive: Whether the classes exclude each other (softmax) or are regions that nest (sigmoid).
        ignore: Mask value of voxels that count neither in a loss nor in a figure, or None.

    >>> LabelMap.of("nodule").names
    {1: 'nodule'}
    """

    classes: tuple[Label, ...] = (NODULE,)
    names: Mapping[int, str] = field(default_factory=lambda: {NODULE.value: NODULE.name})
    exclusive: bool = True
    ignore: int | None = None

    @classmethod
    def of(cls, name: str) -> "LabelMap":
        """The label map of one class, by any name."""
        return cls((make_label(1, name),), {1: name})

    @classmethod
    def build(
        cls,
        labels: Mapping[int, str],
        *,
        regions: Mapping[str, Sequence[int]] | None = None,
        ignore: int | None = None,
    ) -> "LabelMap":
        """The label map of several classes.

        Args:
            labels: Mask value → name: 1, 2, 3, … without a gap.
            regions: Name of a region → the values of `labels` that make it up; without regions each label is a class.
            ignore: Mask value of voxels that do not count.

        Raises:
            LabelError: naming all mistakes at once.
        """
        mistakes = _all_mistakes(labels, regions, ignore)
        if mistakes:
            raise LabelError("the labels are not valid", facts=numbered(mistakes))
        names = dict(sorted(labels.items()))
        own = _regions(regions) if regions else [(value, name, (value,)) for value, name in names.items()]
        single = len(own) == 1
        classes = [
            replace(make_label(value, name, None if single else position), values=values)
            for position, (value, name, values) in enumerate(own)
        ]
        return cls(tuple(classes), names, exclusive=single or not regions, ignore=ignore)

    @property
    def channels(self) -> int:
        """Channels of a network for this map: one per class, and one for the background unless classes are regions."""
        return len(self.classes) + (1 if self.exclusive else 0)

    @property
    def mask_names(self) -> dict[int, str]:
        """Mask value → name of everything that a mask for this task may hold, the ignored voxels included."""
        return {**self.names, **({} if self.ignore is None else {self.ignore: IGNORED})}

    @property
    def class_names(self) -> dict[int, str]:
        """Value of a class in a label map → its name, in the classes' order."""
        return {label.value: label.name for label in self.classes}

    def member_table(self, number: int) -> NDArray[np.bool_]:
        """For every value 0…255 of a label map whether it belongs to class `number` (from 0)."""
        table = np.zeros(LARGEST_VALUE + 1, dtype=np.bool_)
        table[list(self.classes[number].values)] = True
        return table

    def class_mask(self, mask: NDArray[np.uint8], number: int) -> NDArray[np.bool_]:
        """Where a label map holds class `number` (from 0); of a region that includes the regions inside it."""
        return look_up(self.member_table(number), mask)

    def recode(self, mask: NDArray[np.uint8], names: Mapping[int, str]) -> NDArray[np.uint8]:
        """Brings a data set's mask to the values of this map, matched by name; other labels become background.

        Args:
            mask: Values of the data set.
            names: Mask value → name in the data set.

        Raises:
            LabelError: when the data set lacks a label of this map; one alone is found as `lesion_value` says.
        """
        return look_up(self.recode_table(names), mask)

    def recode_table(self, names: Mapping[int, str]) -> NDArray[np.uint8]:
        """For every mask value 0…255 of a data set the value in a label map; see `recode`."""
        table = np.zeros(LARGEST_VALUE + 1, dtype=np.uint8)
        for value, found in self._counterparts(names).items():
            innermost = [label.value for label in self.classes if value in label.values][-1]
            table[found] = innermost
        if self.ignore is not None:
            table[[value for value, name in names.items() if plain_name(name) == IGNORED]] = self.ignore
        return table

    def _counterparts(self, names: Mapping[int, str]) -> dict[int, list[int]]:
        """Mask value of this map → mask values of a data set with the same name."""
        lesions = {value: name for value, name in names.items() if plain_name(name) != IGNORED}
        if len(self.names) == 1:
            ((value, name),) = self.names.items()
            return {value: [lesion_value(lesions, name)]}
        found = {
            value: [other for other, theirs in lesions.items() if plain_name(theirs) == plain_name(name)]
            for value, name in self.names.items()
        }
        missing = [self.names[value] for value, others in found.items() if not others]
        if missing:
            raise LabelError(
                "the data set does not have all labels of the recipe",
                facts={"missing": ", ".join(missing), "found": describe_names(names)},
                hint="give the labels of the recipe and of the data set the same names: recipe.labels, and labels in "
                "manifest.json (data.labels for folders of files)",
            )
        return found


def label_mistakes(labels: Mapping[int, str]) -> list[str]:
    """What is wrong with the labels of a task, mask value → name."""
    values, names = sorted(labels), list(labels.values())
    mistakes = [f"a name must not be empty or taken twice, found {name!r}" for name in _unusable(names)]
    if values != list(range(1, len(values) + 1)) or not values:
        found = ", ".join(map(str, values)) or "none"
        mistakes.insert(0, f"the values must be 1, 2, 3, … (0 is background), found {found}")
    if len(values) > MOST_CLASSES:
        mistakes.append(f"there may be {MOST_CLASSES} at most, found {len(values)}")
    return mistakes


def region_mistakes(regions: Mapping[str, Sequence[int]], labels: Mapping[int, str]) -> list[str]:
    """What is wrong with regions made up of values of `labels`."""
    mistakes = [f"a name must not be empty or taken twice, found {name!r}" for name in _unusable(list(regions))]
    mistakes += [
        f"{name} must be made up of values of labels, found {_values(values)}"
        for name, values in regions.items()
        if not values or set(values) - set(labels)
    ]
    mistakes += [
        f"each must lie in the next larger one, and be smaller; {inner} {_values(inside)} does not lie so in "
        f"{outer} {_values(around)}"
        for (outer, around), (inner, inside) in pairwise(_from_outside(regions))
        if not set(inside) < set(around)
    ]
    left = sorted(set(labels).difference(*regions.values()))
    return mistakes + [f"no region holds {_values(left)} of labels; leave it out of both"] * bool(left)


def ignore_mistakes(ignore: int, labels: Mapping[int, str]) -> list[str]:
    """What is wrong with the value of voxels that do not count."""
    if ignore not in labels and 0 < ignore <= LARGEST_VALUE:
        return []
    return [f"must be a value of 1…{LARGEST_VALUE} that is no label, found {ignore}"]


def _all_mistakes(
    labels: Mapping[int, str], regions: Mapping[str, Sequence[int]] | None, ignore: int | None
) -> list[str]:
    return [
        *(f"labels: {line}" for line in label_mistakes(labels)),
        *(f"regions: {line}" for line in (region_mistakes(regions, labels) if regions is not None else [])),
        *(f"ignore: {line}" for line in (ignore_mistakes(ignore, labels) if ignore is not None else [])),
    ]


def _regions(regions: Mapping[str, Sequence[int]]) -> list[tuple[int, str, tuple[int, ...]]]:
    """Value, name and all values of each region, from the outermost to the innermost."""
    ordered = _from_outside(regions)
    inner = [set(values) for _, values in ordered[1:]] + [set()]
    return [
        (min(set(values) - inside), name, tuple(sorted(set(values))))
        for (name, values), inside in zip(ordered, inner, strict=True)
    ]


def _from_outside(regions: Mapping[str, Sequence[int]]) -> list[tuple[str, Sequence[int]]]:
    return sorted(regions.items(), key=lambda item: -len(set(item[1])))


def _unusable(names: Sequence[str]) -> list[str]:
    """Names that are empty, `ignore`, or the same as another but for case and separators."""
    keys = [plain_name(name) for name in names]
    return [name for number, name in enumerate(names) if keys[number] in {"", IGNORED, *keys[:number]}]


def _values(values: Sequence[int]) -> str:
    return f"[{', '.join(map(str, values))}]"
