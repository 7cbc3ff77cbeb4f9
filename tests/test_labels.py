"""What the values of a mask mean."""

import re

import numpy as np
import pytest

from segpipe.errors import LabelError
from segpipe.labels import (
    NODULE,
    TUMOUR,
    LabelMap,
    check_mask_values,
    lesion_mask,
    lesion_masks,
    lesion_names,
    lesion_value,
    make_label,
)

KNOWN = {1: "nodule"}


PARTS = {1: "ground glass", 2: "solid"}
NESTED = {"nodule": [1, 2], "solid core": [2]}


def test_a_map_of_one_class():
    labels = LabelMap.of("tumour")
    assert labels == LabelMap((TUMOUR,), {1: "tumour"})
    assert (labels.class_names, labels.channels, labels.exclusive) == ({1: "tumour"}, 2, True)


@pytest.mark.parametrize(
    ("name", "meaning"),
    [
        ("Solid", "Nodule"),
        ("ground-glass", "Ground glass opacity"),
        ("lymph nodes", "Lymph Node"),
        ("lung Tumor", "Neoplasm"),
        ("liver", "Lesion"),
    ],
)
def test_any_name_gets_the_codes_that_fit_it_best(name, meaning):
    assert make_label(1, name).type.meaning == meaning


def test_a_lymph_node_lies_in_the_chest_and_a_nodule_in_the_lung():
    found = [make_label(1, name).anatomy.meaning for name in ("lymph node", "spiculated nodule", "x")]
    assert found == ["Chest", "Lung", "Lung"]


def test_codes_are_those_that_dicom_lists():
    from pydicom.sr.codedict import codes

    labels = [
        make_label(1, name) for name in ("nodule", "tumour", "lymph node", "ggo", "mass", "cyst", "necrosis", "x")
    ]
    used = {code for label in labels for code in (label.category, label.type, label.anatomy)}
    assert len(used) > 5
    for code in used:
        listed = {"SCT": codes.SCT, "DCM": codes.DCM}[code.scheme]
        words = "".join(word.capitalize() for word in code.meaning.split())
        assert getattr(listed, words).value == code.value


def test_classes_that_exclude_each_other():
    labels = LabelMap.build({2: "solid", 1: "ground glass"}, ignore=255)
    assert labels.class_names == PARTS
    assert (labels.channels, labels.exclusive, labels.ignore) == (3, True, 255)
    assert labels.classes[0].colour != labels.classes[1].colour


def test_regions_come_from_the_outermost_to_the_innermost():
    labels = LabelMap.build(
        {1: "necrosis", 2: "oedema", 3: "enhancing"}, regions={"c": [3], "w": [1, 2, 3], "t": [1, 3]}
    )
    assert [(label.name, label.value, label.values) for label in labels.classes] == [
        ("w", 2, (1, 2, 3)),
        ("t", 1, (1, 3)),
        ("c", 3, (3,)),
    ]
    assert (labels.channels, labels.exclusive) == (3, False)
    mask = np.array([0, 1, 2, 3, 255], np.uint8)
    masks = [labels.class_mask(mask, number).astype(int).tolist() for number in range(3)]
    assert masks == [[0, 1, 1, 1, 0], [0, 1, 0, 1, 0], [0, 0, 0, 1, 0]]


def test_one_region_is_one_class():
    labels = LabelMap.build(PARTS, regions={"nodule": [1, 2]})
    assert (labels.channels, labels.exclusive) == (2, True)
    assert labels.recode(np.array([0, 1, 2], np.uint8), PARTS).tolist() == [0, 1, 1]


def test_all_mistakes_are_reported_together():
    regions = {"x": [3], "y": [2, 0], "": [2]}
    with pytest.raises(LabelError, match="labels are not valid") as caught:
        LabelMap.build({0: "a", 2: "A"}, regions=regions, ignore=2)
    assert list(caught.value.facts.values()) == [
        "labels: the values must be 1, 2, 3, … (0 is background), found 0, 2",
        "labels: a name must not be empty or taken twice, found 'A'",
        "regions: a name must not be empty or taken twice, found ''",
        "regions: x must be made up of values of labels, found [3]",
        "regions: each must lie in the next larger one, and be smaller; x [3] does not lie so in y [2, 0]",
        "regions: each must lie in the next larger one, and be smaller;  [2] does not lie so in x [3]",
        "ignore: must be a value of 1…255 that is no label, found 2",
    ]


@pytest.mark.parametrize(
    ("labels", "regions", "ignore", "mistake"),
    [
        ({}, None, None, "found none"),
        ({number: str(number) for number in range(1, 18)}, None, None, "16 at most, found 17"),
        ({1: "ignore"}, None, None, "'ignore'"),
        ({1: "a"}, None, 256, "found 256"),
        ({1: "a"}, None, 0, "found 0"),
        (PARTS, {"nodule": []}, None, "made up of values"),
        (PARTS, {"a": [1], "b": [2]}, None, "does not lie so"),
        (PARTS, {"a": [1, 2], "b": [2, 1]}, None, "does not lie so"),
        (PARTS, {"a": [1]}, None, r"no region holds \[2\]"),
    ],
)
def test_each_mistake(labels, regions, ignore, mistake):
    with pytest.raises(LabelError) as caught:
        LabelMap.build(labels, regions=regions, ignore=ignore)
    assert re.search(mistake, "\n".join(caught.value.facts.values()))


@pytest.mark.parametrize("regions", [None, NESTED])
def test_masks_of_a_data_set_are_matched_by_name(regions):
    labels = LabelMap.build(PARTS, regions=regions, ignore=9)
    theirs = {1: "lung", 5: "Solid", 7: "Ground_Glass", 255: "Ignore"}
    assert labels.recode(np.array([0, 1, 5, 7, 255], np.uint8), theirs).tolist() == [0, 0, 2, 1, 9]


def test_a_data_set_must_have_all_labels():
    with pytest.raises(LabelError, match="does not have all labels") as caught:
        LabelMap.build(PARTS).recode(np.zeros(1, np.uint8), {1: "nodule", 2: "solid"})
    assert caught.value.facts == {"missing": "ground glass", "found": "1 nodule, 2 solid"}


def test_the_ignored_value_of_a_data_set_is_never_its_lesion():
    labels = LabelMap((NODULE,), {1: "nodule"}, ignore=3)
    assert labels.recode(np.array([0, 1, 2], np.uint8), {1: "ignore", 2: "region"}).tolist() == [0, 3, 1]


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int16, np.float32, np.float64])
def test_known_values_become_uint8(dtype):
    mask = np.array([[[0, 1], [1, 0]]]).astype(dtype)
    checked = check_mask_values(mask, KNOWN)
    assert checked.dtype == np.uint8
    np.testing.assert_array_equal(checked, [[[0, 1], [1, 0]]])


def test_values_outside_the_map_are_reported():
    with pytest.raises(LabelError, match="values outside the label map") as caught:
        check_mask_values(np.array([0, 1, 2, 255]), KNOWN)
    assert caught.value.facts == {"found": "2, 255", "known": "0 background, 1 nodule"}


def test_fractions_are_reported_as_such():
    with pytest.raises(LabelError, match="fractional values") as caught:
        check_mask_values(np.array([0.0, 0.5, 1.0]), KNOWN)
    assert caught.value.facts["found"] == "0.5"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_outside_the_map(value):
    with pytest.raises(LabelError, match="outside the label map"):
        check_mask_values(np.array([0.0, value]), KNOWN)


def test_of_many_foreign_values_the_first_eight_are_reported():
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


@pytest.mark.parametrize(
    ("names", "lesions"),
    [
        ({2: "lung", 1: "Tumor"}, [1]),
        ({2: "solid", 1: "ground glass"}, [1, 2]),
        ({1: "heart", 2: "GTV-1", 3: "lymph node"}, [2, 3]),
        ({1: "core", 2: "rim", 9: "Ignore"}, [1, 2]),
        ({1: "lung", 2: "mass"}, [2]),
        ({9: "ignore"}, [9]),
    ],
)
def test_the_lesions_of_a_data_set_without_a_recipe(names, lesions):
    assert list(lesion_names(names)) == lesions
    assert lesion_value(names) == lesions[0]
    mask = np.array([0, 1, 2, 3, 9], np.uint8)
    assert lesion_mask(mask, names).tolist() == np.isin(mask, lesions).tolist()


def test_values_of_one_name_are_one_label_of_lesions():
    masks = lesion_masks(np.array([1, 2, 3], np.uint8), {1: "nodule", 2: "Nodule", 3: "cyst"})
    assert {name: mask.tolist() for name, mask in masks.items()} == {
        "nodule": [True, True, False], "cyst": [False, False, True]
    }  # fmt: skip


@pytest.mark.parametrize("names", [{1: "lung", 2: "heart"}, {1: "lesion", 2: "cancer"}])
def test_lesions_that_cannot_be_distinguished_are_refused(names):
    with pytest.raises(LabelError, match="does not have the recipe's label") as caught:
        lesion_value(names, "nodule")
    assert caught.value.facts["found"] == ", ".join(f"{value} {name}" for value, name in names.items())
