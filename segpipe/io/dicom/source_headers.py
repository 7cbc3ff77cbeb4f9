"""Makes the headers of a series fit to be copied into objects of our own: in UTF-8, without values that are garbled."""

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

from pydicom.dataset import Dataset
from pydicom.valuerep import DA, TM

UTF_8 = "ISO_IR 192"
# attributes of patient and study that may be empty but must be there (DICOM type 2), and how one that must have a form
# is checked: highdicom writes nothing at all when it has not
_MAY_BE_EMPTY: Mapping[str, Callable[[str], object] | None] = {
    "PatientName": None,
    "PatientID": None,
    "PatientBirthDate": DA,
    "PatientSex": ("", "M", "F", "O").index,
    "StudyDate": DA,
    "StudyTime": TM,
    "StudyID": None,
    "AccessionNumber": None,
    "ReferringPhysicianName": None,
}
_REFERENCES = ("ReferencedStudySequence", "ReferencedPatientSequence", "ReferencedPerformedProcedureStepSequence")


def mend_header(source: Dataset) -> None:
    """Decodes all text, drops what cannot be read, and adds what must be there though it may be empty."""
    _convert(source)
    source.SpecificCharacterSet = UTF_8
    for keyword, check in _MAY_BE_EMPTY.items():
        if not _is_sound(source.get(keyword), check):
            setattr(source, keyword, "")
    _drop_broken_references(source)


def _convert(dataset: Dataset) -> None:
    """Lets pydicom convert every value now, while its character set is known."""
    for tag in list(dataset.keys()):
        try:
            _decode(dataset[tag])
        except Exception:  # pydicom answers a garbled value with errors of many kinds
            with contextlib.suppress(KeyError):
                del dataset[tag]


def _decode(element: Any) -> None:
    if element.VR == "SQ":
        for item in element.value:
            _convert(item)
            item.pop("SpecificCharacterSet", None)
    elif element.VR == "PN":
        str(element.value)  # names are decoded when they are asked for
    elif element.VR in ("DS", "IS"):  # pydicom gives text where it finds no number
        for value in element.value if element.VM > 1 else [element.value or 0]:
            float(value)


def _is_sound(value: Any, check: Callable[[str], object] | None) -> bool:
    """Whether a value is there and has its form."""
    try:
        if check is not None:
            check(str(value))
    except ValueError:
        return False
    return value is not None


def _drop_broken_references(source: Dataset) -> None:
    """Items that name no object would be copied, and would make what is derived invalid."""
    for name in _REFERENCES:
        items = source.get(name)
        if items and not all(
            item.get("ReferencedSOPClassUID") and item.get("ReferencedSOPInstanceUID") for item in items
        ):
            delattr(source, name)
