"""LIDC's scales: what a reader's number means on them."""

import pytest

from segpipe.labels.ratings import RATING_SCALES


@pytest.mark.parametrize("name", ["malignancy", "spiculation", "lobulation", "margin", "texture"])
def test_five_grades_are_counted_from_one(name):
    scale = RATING_SCALES[name]
    assert [scale.level(rating) for rating in range(7)] == [None, 0, 1, 2, 3, 4, None]
    assert [grade.value for grade in scale.grades] == [1, 2, 3, 4, 5]
    assert len({grade.code for grade in scale.grades}) == 5


def test_calcification_is_absent_or_of_one_of_five_patterns():
    scale = RATING_SCALES["calcification"]
    assert [scale.level(rating) for rating in range(8)] == [None, 1, 1, 1, 1, 1, 0, None]
    assert [grade.value for grade in scale.grades] == [0, 1]


def test_a_rating_between_two_grades_is_none():
    assert RATING_SCALES["malignancy"].level(2.5) is None
