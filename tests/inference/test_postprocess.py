"""Which components of which class are findings, on masks of a few voxels."""

from types import SimpleNamespace

import numpy as np
import pytest

from segpipe.geometry import Grid
from segpipe.inference.operating_point import OperatingPoint
from segpipe.inference.postprocess import choose_findings
from segpipe.labels import LabelMap
from segpipe.preprocessing.recipe import Recipe
from segpipe.preprocessing.resampling import plan_preparation

PARTS = {1: "rim", 2: "core"}
EXCLUSIVE = LabelMap.build(PARTS)
NESTED = LabelMap.build(PARTS, regions={"whole": [1, 2], "core": [2]})
GRID = Grid((16, 1, 1), np.eye(4))
LINE = [0, 1, 1, 2, 2, 1, 0, 0, 1, 2, 1, 0, 2, 0, 1, 0]


def chosen(labels, probability=0.8, at=None, **point):
    """Findings of LINE as (class, voxels), and the line that is left; voxels have one probability, or one each."""
    mask = np.array(LINE, np.uint8).reshape(16, 1, 1)
    values = np.broadcast_to(np.float32(probability), 16).reshape(16, 1)
    inside = [labels.class_mask(mask, number)[:, :, 0] for number in range(2)]
    painted = SimpleNamespace(mask=mask, box=None, foregrounds=[[(0, values[where])] for where in inside])
    preparation = plan_preparation(GRID, Recipe("test", (1.0, 1.0, 1.0), (-1000.0, 400.0), (16, 16, 16)))
    found = choose_findings(painted, preparation, labels=labels, point=OperatingPoint(**point), at_mm=at and [at])
    sizes = [(one.label.name, one.components.voxel_counts[number - 1]) for one in found for number in one.kept]
    return sizes, mask.ravel().tolist()


def test_classes_have_components_of_their_own():
    rims, cores = [("rim", size) for size in (2, 1, 1, 1, 1)], [("core", size) for size in (2, 1, 1)]
    assert chosen(EXCLUSIVE) == ([*rims, *cores], LINE)


def test_a_region_holds_the_regions_inside_it():
    wholes, cores = [("whole", size) for size in (5, 3, 1, 1)], [("core", size) for size in (2, 1, 1)]
    assert chosen(NESTED) == ([*wholes, *cores], LINE)


def test_small_components_of_a_class_are_removed():
    sizes, line = chosen(EXCLUSIVE, min_volume_mm3=2)
    assert sizes == [("rim", 2), ("core", 2)]
    assert line == [0, 1, 1, 2, 2, *[0] * 11]


def test_a_small_region_inside_another_becomes_the_latter():
    sizes, line = chosen(NESTED, min_volume_mm3=2)
    assert sizes == [("whole", 5), ("whole", 3), ("core", 2)]
    assert line == [0, 1, 1, 2, 2, 1, 0, 0, 1, 1, 1, *[0] * 5]


def test_a_region_inside_a_removed_one_is_removed():
    point = {"whole": OperatingPoint(min_volume_mm3=4), "core": OperatingPoint(min_volume_mm3=1)}
    sizes, line = chosen(NESTED, classes=point)
    assert sizes == [("whole", 5), ("core", 2)]
    assert line == [0, 1, 1, 2, 2, 1, *[0] * 10]


def test_each_class_has_a_confidence_of_its_own():
    sure = [0.9 if value == 2 else 0.6 for value in LINE]
    point = {"rim": OperatingPoint(min_probability=0.7), "core": OperatingPoint(min_probability=0.85)}
    sizes, line = chosen(EXCLUSIVE, probability=sure, classes=point)
    assert sizes == [("core", 2), ("core", 1), ("core", 1)]
    assert line == [value if value == 2 else 0 for value in LINE]


@pytest.mark.parametrize("labels", [EXCLUSIVE, NESTED])
def test_at_a_point_one_lesion_is_kept_with_all_its_classes(labels):
    sizes, line = chosen(labels, at=(10.0, 0.0, 0.0))
    assert line == [*[0] * 8, 1, 2, 1, *[0] * 5]
    assert sizes == ([("rim", 1), ("rim", 1), ("core", 1)] if labels.exclusive else [("whole", 3), ("core", 1)])
