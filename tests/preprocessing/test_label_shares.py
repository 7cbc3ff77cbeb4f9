"""Shares of a voxel become one value again."""

import numpy as np

from segpipe.labels import LabelMap
from segpipe.preprocessing.label_shares import join_classes, split_classes

PARTS = {1: "rim", 2: "core"}


def shares(*planes):
    return [(value, np.array(plane, np.float32)) for value, plane in zip((1, 2, 9), planes, strict=False)]


def test_half_of_a_voxel_in_any_class_goes_to_the_largest():
    planes = shares([0.3, 0.3, 0.2, 0.5, 0.0], [0.2, 0.4, 0.2, 0.5, 0.6])
    assert join_classes(planes, exclusive=True).tolist() == [1, 2, 0, 1, 2]


def test_ignored_voxels_are_a_class_of_their_own():
    assert join_classes(shares([0.3, 0.1], [0.0, 0.2], [0.4, 0.1]), exclusive=True).tolist() == [9, 0]


def test_regions_have_the_voxels_of_which_they_have_half():
    assert join_classes(shares([0.9, 0.5, 0.6, 0.4], [0.5, 0.4, 0.6, 0.4]), exclusive=False).tolist() == [2, 1, 2, 0]


def test_splitting_and_joining_gives_the_label_map_back():
    mask = np.random.default_rng(0).choice([0, 1, 2, 9], (6, 5, 4)).astype(np.uint8)
    for regions in (None, {"whole": [1, 2], "core": [2]}):
        labels = LabelMap.build(PARTS, regions=regions, ignore=9)
        whole = [(value, inside.astype(np.float32)) for value, inside in split_classes(mask, labels)]
        np.testing.assert_array_equal(join_classes(whole, exclusive=labels.exclusive), mask)
