"""One class: its name, its value in a mask, its colour and how radiology systems code it."""

import re
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Code:
    """A coded concept, e.g. SNOMED CT 39607008 «Lung»."""

    scheme: str
    value: str
    meaning: str


@dataclass(frozen=True)
class Label:
    """One class: what a network outputs, a mask holds, a finding is called and DICOM objects are coded with.

    Args:
        value: Its value in a label map; of a region that holds another one, the value of what lies outside that one.
        name: Its name, free to choose.
        colour: RGB, 0–255.
        category: Kind of structure.
        type: What it is.
        anatomy: Where it is.
        values: All values of a label map that belong to it; of a class that is no region its `value` alone.
    """

    value: int
    name: str
    colour: tuple[int, int, int]
    category: Code
    type: Code
    anatomy: Code
    values: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", self.values or (self.value,))


_MORPHOLOGY = Code("SCT", "49755003", "Morphologically Abnormal Structure")
_ANATOMY = Code("SCT", "91723000", "Anatomical Structure")
_LUNG = Code("SCT", "39607008", "Lung")
_CHEST = Code("SCT", "816094009", "Chest")
_NODULE = Code("SCT", "27925004", "Nodule")
_NEOPLASM = Code("SCT", "108369006", "Neoplasm")
_LESION = Code("SCT", "52988006", "Lesion")
NODULE = Label(1, "nodule", (230, 85, 13), _MORPHOLOGY, _NODULE, _LUNG)
TUMOUR = Label(1, "tumour", (215, 48, 39), _MORPHOLOGY, _NEOPLASM, _LUNG)
_TYPES = {  # by words of the name; the first that fits
    "lymph_node": Code("SCT", "59441001", "Lymph Node"),
    "ground_glass": Code("DCM", "112120", "Ground glass opacity"),
    "ggo": Code("DCM", "112120", "Ground glass opacity"),
    "metastas": Code("SCT", "14799000", "Neoplasm, Secondary"),
    "necrosis": Code("SCT", "6574001", "Necrosis"),
    "cyst": Code("SCT", "367643001", "Cyst"),
    "mass": Code("SCT", "4147007", "Mass"),
    "nodule": _NODULE,
    "solid": _NODULE,
    "tumour": _NEOPLASM,
    "cancer": _NEOPLASM,
    "carcinoma": _NEOPLASM,
    "neoplasm": _NEOPLASM,
    "gtv": _NEOPLASM,
}
IGNORED = "ignore"
"""What a data set calls the voxels that nobody has outlined; the same word as nnU-Net's."""
_COLOURS = (
    (230, 85, 13), (49, 130, 189), (49, 163, 84), (117, 107, 177), (222, 45, 38), (28, 144, 153), (221, 28, 119),
    (153, 112, 0), (65, 171, 93), (106, 81, 163), (203, 24, 29), (34, 94, 168), (206, 18, 86), (140, 81, 10),
    (1, 102, 94), (99, 99, 99),
)  # fmt: skip


def make_label(value: int, name: str, position: int | None = None) -> Label:
    """A class of any name, with the codes that fit the name best: those of a lesion of the lung when none does.

    Args:
        value: Its value in a label map.
        name: Its name.
        position: Its place among several classes, from 0, which gives it a colour of its own.

    >>> make_label(2, "lymph node").type.meaning, make_label(1, "blob").type.meaning
    ('Lymph Node', 'Lesion')
    """
    known = {label.name: label for label in (NODULE, TUMOUR)}.get(name)
    if known and position is None:
        return replace(known, value=value, values=())
    key = plain_name(name)
    kind = next((code for word, code in _TYPES.items() if word in key), _LESION)
    node = kind is _TYPES["lymph_node"]
    colour = _COLOURS[(position or 0) % len(_COLOURS)]
    return Label(value, name, colour, _ANATOMY if node else _MORPHOLOGY, kind, _CHEST if node else _LUNG)


def is_lesion(name: str) -> bool:
    """Whether a label's name speaks of a lesion or of a part of one.

    >>> [is_lesion(name) for name in ("GTV-1", "Ground glass", "lymph_node", "left lung", "heart")]
    [True, True, True, False, False]
    """
    return any(word in plain_name(name) for word in ("lesion", *_TYPES))


def plain_name(name: str) -> str:
    """A name by which data sets and recipes meet: case, separators and British or American spelling do not matter."""
    return re.sub(r"[\W_]+", "_", name.strip().lower()).replace("tumor", "tumour").strip("_")
