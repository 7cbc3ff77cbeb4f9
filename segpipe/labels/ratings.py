"""The scales on which LIDC's readers rated nodules, and how DICOM objects code concepts and grades."""

from collections.abc import Mapping
from dataclasses import dataclass

from segpipe.labels.label import Code

LIDC_SCHEME = "99LIDCQIICR"
"""The local coding scheme of LIDC's ratings in DICOM; see `RatingScale`."""


@dataclass(frozen=True)
class Grade:
    """One step of a scale.

    Args:
        value: What stands for it in findings and tables.
        name: What it means; empty for one that lies between two that have names.
        code: How DICOM codes it.
        ratings: The readers' ratings that count as this grade.
    """

    value: int
    name: str
    code: Code
    ratings: tuple[int, ...]


@dataclass(frozen=True)
class RatingScale:
    """What readers rated, and its grades from the lowest.

    Args:
        name: Its column in a table of nodules.
        concept: How DICOM codes it.
        grades: From the lowest.

    Source:
        Scales: McNitt-Gray et al., Academic Radiology 14 (2007) 1464–1474. Codes: Fedorov et al., Medical Physics 47
        (2020) 5953–5965, doi 10.1002/mp.14445, by which TCIA's LIDC-IDRI is coded in DICOM.
    """

    name: str
    concept: Code
    grades: tuple[Grade, ...]

    def level(self, rating: float) -> int | None:
        """The place of a reader's rating among the grades, from 0; None for one that the scale does not have."""
        places = [place for place, grade in enumerate(self.grades) if rating in grade.ratings]
        return places[0] if places else None


Ends = Mapping[int, tuple[str, Code]]


def _out_of_five(name: str, concept: Code, named: Ends) -> RatingScale:
    """A scale of five grades of which only some have names."""
    grades = []
    for number in range(1, 6):
        plain = ("", _lidc(f"{number:03d}", f"{number} out of 5"))
        grades.append(Grade(number, *named.get(number, plain), (number,)))
    return RatingScale(name, concept, tuple(grades))


def _lidc(value: str, meaning: str) -> Code:
    return Code(LIDC_SCHEME, value, meaning)


def _radlex(value: str, meaning: str) -> Code:
    return Code("RADLEX", value, meaning)


def _nci(value: str, meaning: str) -> Code:
    return Code("NCIt", value, meaning)


_LIKELIHOODS = {
    1: ("highly unlikely", _lidc("901", "1 out of 5 (Highly Unlikely for Cancer)")),
    2: ("moderately unlikely", _lidc("902", "2 out of 5 (Moderately Unlikely for Cancer)")),
    3: ("indeterminate", _lidc("903", "3 out of 5 (Indeterminate Likelihood)")),
    4: ("moderately suspicious", _lidc("904", "4 out of 5 (Moderately Suspicious for Cancer)")),
    5: ("highly suspicious", _lidc("905", "5 out of 5 (Highly Suspicious for Cancer)")),
}
_SPICULATION = {
    1: ("none", _lidc("701", "1 out of 5 (No spiculation)")),
    5: ("marked", _lidc("705", "5 out of 5 (Marked spiculation)")),
}
_LOBULATION = {
    1: ("none", _lidc("601", "1 out of 5 (No lobulation)")),
    5: ("marked", _lidc("605", "5 out of 5 (Marked lobulation)")),
}
_MARGIN = {
    1: ("poorly defined", _radlex("RID5709", "Indistinct margin")),
    5: ("sharp", _radlex("RID5707", "Circumscribed margin")),
}
_TEXTURE = {
    1: ("non-solid", _radlex("RID50153", "non-solid pulmonary nodule")),
    3: ("part-solid", _radlex("RID50152", "part-solid pulmonary nodule")),
    5: ("solid", _radlex("RID50151", "solid pulmonary nodule")),
}
# Calcification: patterns, which have no order; of 810 nodules seven have another one than solid or none.
_CALCIFICATION = (
    Grade(0, "absent", _radlex("RID28473", "Absent"), (6,)),
    Grade(1, "present", Code("SCT", "52101004", "Present"), (1, 2, 3, 4, 5)),
)
_SCALES = (
    _out_of_five("malignancy", _radlex("RID36042", "Malignancy"), _LIKELIHOODS),
    _out_of_five("spiculation", _nci("C28749", "Spiculation"), _SPICULATION),
    _out_of_five("lobulation", _nci("C62175", "Lobular Pattern"), _LOBULATION),
    _out_of_five("margin", _nci("C25563", "Margin"), _MARGIN),
    _out_of_five("texture", _nci("C41144", "Texture"), _TEXTURE),
    RatingScale("calcification", _nci("C3672", "Calcification"), _CALCIFICATION),
)
RATING_SCALES = {scale.name: scale for scale in _SCALES}
"""Name → scale."""
