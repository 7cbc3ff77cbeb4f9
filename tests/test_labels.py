"""What the values of a mask mean."""

import numpy as np
import pytest

from segpipe.errors import LabelError
from segpipe.labels import LabelMap, check_mask_values, lesion_value

KNOWN = {1: "nodule"}


def test_a_map_of_one_label():
    labels = LabelMap.of("tumour")
    assert labels.names == {1: "tumour"}
    assert labels.channels == 2
    assert labels.labels[0].type.scheme == "SCT"


def test_an_unknown_name_is_told_with_the_known_ones():
    with pytest.raises(LabelError, match="unknown label name") as caught:
        LabelMap.of("liver")
    assert caught.value.facts == {"found": "liver", "known": "nodule, tumour"}


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int16, np.float32, np.float64])
def test_known_values_become_uint8(dtype):
    mask = np.array([[[0, 1], [1, 0]]]).astype(dtype)
    checked = check_mask_values(mask, KNOWN)
    assert checked.dtype == np.uint8
    np.testing.assert_array_equal(checked, [[[0, 1], [1, 0]]])


def test_values_outside_the_map_are_told():
    with pytest.raises(LabelError, match="values outside the label map") as caught:
        check_mask_values(np.array([0, 1, 2, 255]), KNOWN)
    assert caught.value.facts == {"found": "2, 255", "known": "0 background, 1 nodule"}


def test_fractions_are_told_as_such():
    with pytest.raises(LabelError, match="fractional values") as caught:
        check_mask_values(np.array([0.0, 0.5, 1.0]), KNOWN)
    assert caught.value.facts["found"] == "0.5"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_outside_the_map(value):
    with pytest.raises(LabelError, match="outside the label map"):
        check_mask_values(np.array([0.0, value]), KNOWN)


def test_of_many_foreign_values_the_first_eight_are_told():
    with pytest.raises(LabelError) as caught:
        check_mask_values(np.arange(100), KNOWN)
    assert caught.value.facts["found"] == "2, 3, 4, 5, 6, 7, 8, 9"


@pytest.mark.parametrize(
    ("names", "wanted", "value"),
    [
        ({1: "lung", 3: "nodule"}, "nodule", 3),
        ({1: "nodule", 2: "tumour"}, "tumour", 2),
        ({1: "cancer"}, "nodule", 1),
        ({7: "region"}, "nodule", 7),
        ({1: "lung", 2: "Tumor"}, "tumour", 2),
        ({1: "nodule", 2: "tumour"}, "", 1),
        ({2: "lung", 1: "heart"}, "", 1),
    ],
)
def test_the_value_of_lesions(names, wanted, value):
    assert lesion_value(names, wanted) == value


@pytest.mark.parametrize("names", [{1: "lung", 2: "heart"}, {1: "lesion", 2: "cancer"}])
def test_lesions_that_cannot_be_told_apart_are_told(names):
    with pytest.raises(LabelError, match="does not have the recipe's label") as caught:
        lesion_value(names, "nodule")
    assert caught.value.facts["found"] == ", ".join(f"{value} {name}" for value, name in names.items())
