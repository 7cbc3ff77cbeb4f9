"""Masks that follow a prompt, with an engine that a pencil can follow."""

from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segpipe.case import Case
from segpipe.errors import ConfigError, GeometryError
from segpipe.geometry import Grid, to_voxel, to_world
from segpipe.inference.options import PredictOptions
from segpipe.inference.predictor import predict_case
from segpipe.inference.prompts.prompt import Prompt
from segpipe.preprocessing.recipe import Recipe

VOI = Recipe("voi", (0.7, 0.7, 1.25), (-1000.0, 400.0), (48, 48, 16), scope="voi")
AFFINES = {
    "RAS": np.diag([0.7, 0.7, 1.25, 1.0]),
    "LPS, thick": np.diag([-0.8, -0.8, 2.5, 1.0]),
    "SLA": np.array([[0, -0.8, 0, 3.0], [0, 0, 0.8, 9.0], [2.0, 0, 0, 100.0], [0, 0, 0, 1.0]]),
}
NODULE, VESSEL, NECROSIS = 30, 60, -400
"""HU; the engine takes the first two for the lesion."""


class Bright:
    """Calls everything above −300 HU foreground, softly."""

    name = "bright"

    def __call__(self, patches_bcxyz):
        return torch.sigmoid((patches_bcxyz - 0.5) * 20)


@cache
def nodule(name, margin_mm=22.0):
    """A ball of 12 mm with a vessel to the right (x) and a dark part to the back (y): case and middle (RAS+ mm)."""
    affine = AFFINES[name]
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    shape = tuple(int(2 * margin_mm / length) for length in spacing)
    grid = Grid(shape, affine)
    middle = to_world(affine, (np.array(shape) - 1) // 2)
    x, y, z = np.moveaxis(to_world(affine, np.moveaxis(np.indices(shape), 0, -1)) - middle, -1, 0)
    image = np.full(shape, -850, np.int16)
    image[(x > 5) & (x < 16) & (y**2 + z**2 < 2)] = VESSEL
    image[x**2 + y**2 + z**2 <= 36] = NODULE
    image[(x**2 + (y + 7.5) ** 2 + z**2 <= 9) & (image == -850)] = NECROSIS
    return Case("scan", image, grid), middle


def predict(case, prompt, **more):
    return predict_case(case, VOI, Bright(), PredictOptions(), divisor=(16, 16, 8), at_mm=prompt, **more)


def at(middle, x=0.0, y=0.0, z=0.0):
    return tuple((middle + np.array([x, y, z])).tolist())


def index(case, point):
    return tuple(np.rint(to_voxel(case.grid.affine, point)).astype(int))


def places(case):
    return to_world(case.grid.affine, np.moveaxis(np.indices(case.grid.shape), 0, -1))


@pytest.mark.parametrize("name", AFFINES)
def test_a_negative_point_cuts_a_vessel_off(name):
    case, middle = nodule(name)
    plain = predict(case, at(middle))
    corrected = predict(case, Prompt((at(middle),), (at(middle, 9, 0, 0),)))
    assert plain.mask[index(case, at(middle, 14, 0, 0))] == 1
    assert corrected.mask[index(case, at(middle, 14, 0, 0))] == 0
    assert len(corrected.findings) == 1
    ball = np.linalg.norm(places(case) - middle, axis=-1) < 4.5
    assert corrected.mask[ball].all()
    removed = (plain.mask > 0) & (corrected.mask == 0)
    assert (plain.mask >= corrected.mask).all()
    assert case.image[removed].tolist().count(VESSEL) > 0.7 * removed.sum()


@pytest.mark.parametrize("name", AFFINES)
def test_a_positive_point_adds_what_was_missed_around_it(name):
    case, middle = nodule(name)
    plain = predict(case, at(middle))
    corrected = predict(case, Prompt((at(middle), at(middle, 0, -8, 0))))
    added = (corrected.mask > 0) & (plain.mask == 0)
    near = np.linalg.norm(places(case) - at(middle, 0, -8, 0), axis=-1) < 1.3
    assert not plain.mask[near].any()
    assert corrected.mask[near].all()
    assert (case.image[added] == NECROSIS).mean() > 0.9
    assert (corrected.mask >= plain.mask).all()


@pytest.mark.parametrize("name", AFFINES)
@settings(max_examples=8, deadline=None)
@given(
    points=st.lists(st.tuples(*[st.integers(-9, 9)] * 3), min_size=2, max_size=5, unique=True),
    inside=st.lists(st.booleans(), min_size=5, max_size=5),
)
def test_positive_points_are_inside_and_negative_ones_outside_whatever_is_there(name, points, inside):
    case, middle = nodule(name)
    places = {index(case, point): point for point in (at(middle, *(0.1 + np.array(offset))) for offset in points)}
    first, *others = places.items()
    positives = [first, *(one for one, is_inside in zip(others, inside, strict=False) if is_inside)]
    negatives = [one for one in others if one not in positives]
    prompt = Prompt(tuple(place for _, place in positives), tuple(place for _, place in negatives))
    mask = predict(case, prompt).mask
    if not prompt.is_point:
        assert all(mask[voxel] for voxel, _ in positives)
    assert not any(mask[voxel] for voxel, _ in negatives)


def test_far_from_the_points_nothing_changes():
    case, middle = nodule("RAS")
    plain = predict(case, at(middle)).probability
    corrected = predict(case, Prompt((at(middle),), (at(middle, 9, 0, 0),))).probability
    far = np.linalg.norm(places(case) - at(middle, 9, 0, 0), axis=-1) > 7
    np.testing.assert_array_equal(corrected[far], plain[far])
    assert (corrected != plain).any()


def test_points_that_the_network_agrees_with_change_nothing():
    case, middle = nodule("LPS, thick")
    plain = predict(case, at(middle))
    corrected = predict(case, Prompt((at(middle), at(middle, 3, 0, 0)), (at(middle, 0, 12, 0),)))
    np.testing.assert_array_equal(corrected.probability, plain.probability)
    assert corrected.findings == plain.findings


@pytest.mark.parametrize("name", AFFINES)
def test_nothing_lies_outside_a_box(name):
    case, middle = nodule(name)
    prompt = Prompt(box=(at(middle, 6, -6, -6), at(middle, -6, 6, 6)))
    mask = predict(case, prompt).mask > 0
    half = np.abs(case.grid.affine[:3, :3]).sum(axis=1) / 2
    assert (np.abs(places(case)[mask] - middle) <= 6 + half + 1e-6).all()
    ball = np.linalg.norm(places(case) - middle, axis=-1) < 5
    assert mask[ball].mean() > 0.98


def test_in_a_box_a_faint_lesion_reaches_the_sides():
    case, middle = nodule("RAS")
    faint = Case("faint", np.where(case.image > NECROSIS, case.image - 400, case.image).astype(np.int16), case.grid)
    assert predict(faint, at(middle)).mask.sum() == 0
    mask = predict(faint, Prompt(box=(at(middle, -6, -6, -6), at(middle, 6, 6, 6)))).mask > 0
    ball = np.linalg.norm(places(case) - middle, axis=-1) <= 6
    assert 2 * (mask & ball).sum() / (mask.sum() + ball.sum()) > 0.9


@pytest.mark.parametrize("name", AFFINES)
def test_all_of_a_line_is_inside_and_nothing_in_its_slice_is_longer(name):
    case, middle = nodule(name)
    prompt = Prompt(line=(at(middle, -6, 0, 0), at(middle, 6, 0, 0)))
    mask = predict(case, prompt).mask > 0
    assert all(mask[index(case, at(middle, x, 0, 0))] for x in np.linspace(-6, 6, 25))
    here = mask & (np.abs(places(case)[..., 2] - middle[2]) < 0.1)
    for end in prompt.line:
        assert np.linalg.norm(places(case)[here] - end, axis=-1).max() <= 12 + case.grid.spacing_mm[2]


def test_the_operating_point_removes_nothing_that_a_reader_points_at():
    case, middle = nodule("RAS")
    options = PredictOptions(min_volume_mm3=1e6, min_probability=0.99)
    prompt = Prompt((at(middle), at(middle, 1, 0, 0)))
    found = predict_case(case, VOI, Bright(), options, divisor=(16, 16, 8), at_mm=prompt)
    assert len(found.findings) == 1


def test_windows_grow_until_they_hold_all_points():
    case, middle = nodule("RAS", 40.0)
    points = at(middle, 0, 30, 0), at(middle, 0, -15, 0)
    mask = predict(case, Prompt((at(middle), *points))).mask
    assert all(mask[index(case, point)] for point in points)
    assert 2 <= len(predict(case, Prompt((at(middle), *points))).findings) <= 3


def test_points_that_no_window_holds_are_refused():
    case, middle = nodule("LPS, thick", 80.0)
    with pytest.raises(GeometryError, match="a prompt must fit into the widest window"):
        predict(case, Prompt((at(middle, -75, 0, 0), at(middle, 75, 0, 0))))


def test_models_of_whole_scans_are_not_corrected():
    case, middle = nodule("RAS")
    recipe = Recipe("scan", (1.0, 1.0, 1.5), (-1000.0, 400.0), (32, 32, 16))
    with pytest.raises(ConfigError, match="follows a single point only"):
        predict_case(
            case,
            recipe,
            Bright(),
            PredictOptions(),
            divisor=(16, 16, 8),
            at_mm=Prompt((at(middle),), (at(middle, 9, 0, 0),)),
        )
