"""What a reader may say of a lesion, and what contradicts itself or the scan."""

import numpy as np
import pytest

from segpipe.errors import ConfigError, GeometryError
from segpipe.geometry import Grid
from segpipe.inference.prompts.prompt import Prompt, check_prompt, check_scope
from segpipe.preprocessing.recipe import Recipe

A, B, C = (0.0, 0.0, 0.0), (4.0, 6.0, 8.0), (1.0, 1.0, 1.0)
GRID = Grid((20, 20, 20), np.diag([1.0, 1.0, 2.0, 1.0]))  # 0…19, 0…19, 0…38 mm


def test_a_point_is_a_prompt():
    assert Prompt.of(A) == Prompt((A,))
    assert Prompt.of(Prompt((A,))).is_point
    assert Prompt((A,)).to_dict() == {"positives": [[0.0, 0.0, 0.0]]}


@pytest.mark.parametrize("prompt", [Prompt((A, B)), Prompt((A,), (B,)), Prompt((A,), box=(A, B)), Prompt(line=(A, B))])
def test_more_than_a_point_is_no_point(prompt):
    assert not prompt.is_point


def test_a_lesion_is_looked_for_in_the_middle_of_box_or_line_or_at_the_first_point():
    assert Prompt((B, A)).centre == B
    assert Prompt((C,), box=(B, A)).centre == (2.0, 3.0, 4.0)
    assert Prompt((C,), line=(A, B)).centre == (2.0, 3.0, 4.0)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "do not say where the lesion is"),
        ({"negatives": (A,)}, "negative points alone do not say where"),
        ({"box": (A, B), "line": (A, B)}, "a box and a line exclude each other"),
        ({"box": (A, (4.0, 6.0, 0.0))}, "must differ in x, y and z"),
        ({"line": (A, A)}, "the ends of the line must differ"),
        ({"positives": ((5.0, 1.0, 1.0),), "box": (B, A)}, "the positive point 5,1,1 lies outside the box"),
        ({"positives": ((float("nan"), 0.0, 0.0),)}, "coordinates must be finite"),
    ],
)
def test_what_contradicts_itself_is_refused(given, message):
    with pytest.raises(ConfigError, match=message):
        Prompt(**given)


def test_all_contradictions_come_together():
    with pytest.raises(ConfigError) as caught:
        Prompt(((9.0, 9.0, 9.0),), box=(A, B), line=(A, A))
    assert len(caught.value.facts) == 3


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        (Prompt((C, (20.0, 1.0, 1.0))), "the point must lie in the scan"),
        (Prompt((C,), ((1.0, 1.0, 40.0),)), "the point must lie in the scan"),
        (Prompt(line=(C, (1.0, -9.0, 1.0))), "the point must lie in the scan"),
        (Prompt(box=((30.0, 1.0, 1.0), (40.0, 9.0, 9.0))), "the point must lie in the scan"),
        (Prompt((C,), ((1.2, 0.9, 0.9),)), "a point lies inside the lesion or outside it"),
        (Prompt(negatives=((5.0, 1.3, 4.0),), line=((1.0, 1.0, 4.0), (9.0, 1.0, 4.0))), "inside the lesion or outside"),
        (Prompt(line=((1.0, 1.0, 4.0), (9.0, 1.0, 8.0))), "one axial slice\n.*2.0 slices apart"),
    ],
)
def test_what_does_not_fit_the_scan_is_refused(prompt, message):
    with pytest.raises(GeometryError, match=message):
        check_prompt(prompt, GRID)


def test_all_that_does_not_fit_comes_together():
    with pytest.raises(GeometryError, match=r"the prompt does not fit the scan \(3 mistakes\)"):
        check_prompt(Prompt((C, (-9.0, 1.0, 1.0)), ((1.0, 99.0, 1.0), C)), GRID)


def test_a_box_may_reach_beyond_the_scan_but_not_lie_outside():
    check_prompt(Prompt(box=((-5.0, -5.0, -5.0), (9.0, 9.0, 9.0))), GRID)
    with pytest.raises(GeometryError, match="the point must lie in the scan"):
        check_prompt(Prompt(box=((-5.0, -5.0, -5.0), (-1.0, -1.0, -1.0))), GRID)


def test_models_of_whole_scans_follow_a_point_only():
    recipe = Recipe("chest", (1.0, 1.0, 1.5), (-1000.0, 400.0), (32, 32, 16))
    check_scope(Prompt((A,)), recipe)
    with pytest.raises(ConfigError, match=r"follows a single point only\n  model +chest"):
        check_scope(Prompt((A, B)), recipe)
