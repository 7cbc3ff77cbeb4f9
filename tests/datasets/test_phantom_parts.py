"""The phantom's parts against sums done by hand: vessels keep their volume, nodules theirs, arrays their places."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from segpipe.datasets.phantom.canvas import Axes, Canvas, Superellipse
from segpipe.datasets.phantom.nodules import add_nodule, draw_nodule, solid_part, sphere
from segpipe.datasets.phantom.population import LIDC_MM, LIDC_SHARES, POPULATIONS
from segpipe.datasets.phantom.scanner import Protocol, place, scan, to_ras
from segpipe.datasets.phantom.thorax import Thorax
from segpipe.datasets.phantom.vessels import Tubes, follow, grow_tree, splat
from segpipe.geometry import to_world
from segpipe.system.files.csv_table import read_csv

LARGE = POPULATIONS["large"]
AXES = Axes.around((0.0, 0.0, 0.0), (60.0, 48.0, 50.0), (1.0, 1.2, 2.0))


def _lung():
    shape = AXES.shape
    return Thorax(np.full(shape, -850, np.float32), np.ones(shape, np.float32), np.full(shape, 50, np.float32))


def _straight_tube(radius, length=20.0, pieces=40):
    t = (np.arange(pieces) + 0.5) / pieces - 0.5
    heading = np.array([0.6, 0.48, 0.64])
    centre = t[:, None] * length * heading + [1.3, -0.7, 0.4]
    return Tubes(centre, np.tile(heading, (pieces, 1)), np.full(pieces, radius), np.full(pieces, length / pieces))


@pytest.mark.parametrize("radius", [0.3, 0.8, 2.5])
def test_tubes_thinner_and_thicker_than_a_voxel_keep_their_volume(radius):
    share = splat(_straight_tube(radius), AXES)
    volume = float(share.sum()) * np.prod(AXES.step_mm)
    assert_allclose(volume, np.pi * radius**2 * 20.0, rtol=0.08 if radius > 2 else 0.001)
    assert share.min() >= 0
    assert share.max() <= 1


def test_tubes_outside_the_scan_are_left_out():
    far = _straight_tube(1.0)
    assert splat(Tubes(far.centre + 500, far.direction, far.radius, far.length), AXES).sum() == 0


def test_a_tree_reaches_all_tips_and_thins_towards_them():
    rng = np.random.default_rng(0)
    tips = rng.uniform(-20, 20, (60, 3))
    tree = grow_tree(np.zeros(3), tips)
    assert_array_equal(np.sort(tree.nodes[1:], axis=0), np.sort(tips, axis=0))
    assert (tree.parent[1:] < np.arange(1, 61)).all()
    assert (tree.radius_mm[tree.parent] >= tree.radius_mm - 1e-12).all()
    assert_allclose(tree.radius_mm[0] ** 2.7, np.sum(np.bincount(tree.parent[1:], minlength=61) == 0) * 0.52**2.7)


def test_a_single_branch_is_a_straight_line():
    tubes = follow(grow_tree(np.zeros(3), np.array([[0.0, 0.0, 10.0]])))
    assert_allclose(tubes.length.sum(), 10.0, rtol=1e-6)
    assert_allclose(tubes.centre[:, :2], 0, atol=1e-12)


@pytest.mark.parametrize("seed", range(12))
def test_a_nodule_has_the_volume_of_its_sphere(seed):
    rng = np.random.default_rng(seed)
    nodule = replace(draw_nodule(rng, LARGE, smallest_mm=4.0), diameter_mm=14.0)
    thorax = _lung()
    mask = add_nodule(thorax, nodule, np.array([0.7, -0.4, 0.9]), AXES, rng)
    volume = mask.sum() * np.prod(AXES.step_mm)
    assert_allclose(volume, np.pi / 6 * 14.0**3, rtol=0.06)
    assert thorax.hu[mask].mean() > -700
    assert_allclose(thorax.hu[:3], -850)


def test_the_solid_part_is_the_core():
    nodule = replace(
        draw_nodule(np.random.default_rng(0), LARGE, smallest_mm=4.0),
        diameter_mm=20.0,
        texture="part-solid",
        core_mm=(np.array([1.0, 0.0, 0.0]), 6.0),
    )
    core = solid_part(nodule, np.zeros(3), AXES)
    assert_allclose(core.sum() * np.prod(AXES.step_mm), 4 / 3 * np.pi * 6.0**3, rtol=0.05)
    assert_allclose(AXES.x[:, 0][np.argwhere(core)[:, 1]].mean(), 1.0, atol=0.2)
    inside = add_nodule(_lung(), nodule, np.zeros(3), AXES, np.random.default_rng(0))
    assert inside[solid_part(replace(nodule, texture="solid"), np.zeros(3), AXES)].mean() < 1
    assert not solid_part(replace(nodule, texture="ground-glass", core_mm=(np.zeros(3), 0.0)), np.zeros(3), AXES).any()


def test_a_nodule_stops_at_the_pleura():
    rng = np.random.default_rng(1)
    thorax = _lung()
    thorax.lung[:, AXES.x[:, 0] > 2] = 0
    before = thorax.hu.copy()
    mask = add_nodule(
        thorax, replace(draw_nodule(rng, LARGE, smallest_mm=4.0), diameter_mm=14.0), np.zeros(3), AXES, rng
    )
    assert mask.any()
    assert not mask[:, AXES.x[:, 0] > 2].any()
    assert_array_equal(thorax.hu[:, AXES.x[:, 0] > 2], before[:, AXES.x[:, 0] > 2])


def test_sizes_are_plausible_and_the_smallest_are_solid():
    rng = np.random.default_rng(0)
    nodules = [draw_nodule(rng, LARGE, smallest_mm=4.0) for _ in range(2000)]
    sizes = np.array([nodule.diameter_mm for nodule in nodules])
    assert sizes.min() >= 4.0
    assert sizes.max() <= 30.0
    assert 0.75 < np.mean((sizes > 6) & (sizes < 20)) < 0.95
    assert {nodule.texture for nodule in nodules} == {"solid", "part-solid", "ground-glass"}
    assert {nodule.shape for nodule in nodules} == {"spherical", "lobulated", "spiculated"}
    assert all(nodule.texture == "solid" for nodule in nodules if nodule.diameter_mm < 8)


def test_sizes_and_textures_of_lidc_are_those_of_its_nodules():
    rng = np.random.default_rng(0)
    nodules = [draw_nodule(rng, POPULATIONS["lidc"], smallest_mm=4.0) for _ in range(6000)]
    sizes = np.array([nodule.diameter_mm for nodule in nodules])
    assert_allclose(np.percentile(sizes, [5, 25, 50, 75, 95]), [4.2, 5.2, 6.9, 10.4, 19.8], rtol=0.05)
    assert_allclose(np.mean(sizes < 6), 0.38, atol=0.02)
    assert (sizes.min() > 3.2) & (sizes.max() < 33.1)
    for texture, share in (("solid", 0.88), ("part-solid", 0.03), ("ground-glass", 0.09)):
        assert_allclose(np.mean([nodule.texture == texture for nodule in nodules]), share, atol=0.015)


@pytest.mark.realdata
def test_the_law_of_lidc_is_that_of_the_published_table(realdata):
    _, rows = read_csv(realdata / "lidc_nodules" / "nodules.csv")
    sizes = [float(row["diameter_mm"]) for row in rows]
    assert_allclose(np.quantile(sizes, LIDC_SHARES[1:-1]), LIDC_MM[1:-1], rtol=0.01)


def test_a_nodule_between_two_slices_has_a_voxel():
    thorax, rng = _lung(), np.random.default_rng(0)
    nodule = replace(draw_nodule(rng, LARGE, smallest_mm=4.0), diameter_mm=1.0)
    centre = np.array([AXES.x[20, 0], AXES.y[0, 20], AXES.z[10] + 1.0])
    mask = add_nodule(thorax, nodule, centre, AXES, rng)
    assert 1 <= mask.sum() <= 2
    assert mask[10:12, 20, 20].any()


def test_directions_cover_the_sphere():
    directions = sphere(500)
    assert_allclose(np.linalg.norm(directions, axis=1), 1)
    assert_allclose(directions.mean(axis=0), 0, atol=0.01)


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "LAS", "SAR", "RPI"])
def test_storing_keeps_every_voxel_in_its_place(orientation):
    protocol = replace(Protocol.draw(np.random.default_rng(3)), orientation=orientation, step_mm=AXES.step_mm)
    array = np.zeros(AXES.shape, np.uint8)
    array[4, 7, 11] = 1
    stored, grid = place(array, AXES, protocol)
    assert grid.orientation == orientation
    position = to_world(grid.affine, np.argwhere(stored)[0])
    point = np.array([AXES.x[7, 0], AXES.y[0, 11], AXES.z[4]], dtype=np.float64)
    assert_allclose(position, to_ras(point, protocol), atol=0.006)


def test_noise_has_the_protocols_strength_and_is_correlated():
    protocol = replace(Protocol.draw(np.random.default_rng(3)), step_mm=AXES.step_mm, noise_hu=20.0, sharpness=0.25)
    thorax = _lung()
    thorax.lung[:] = 0  # no uneven tissue
    image = scan(thorax, AXES, protocol, np.random.default_rng(0)) + 850.0
    assert abs(image.mean()) < 1
    assert_allclose(image.std(), 20.0, rtol=0.15)
    correlation = np.corrcoef(image[:, 1:].ravel(), image[:, :-1].ravel())[0, 1]
    assert 0.1 < correlation < 0.9


def test_painted_shapes_have_their_area():
    axes = Axes.around((0.0, 0.0, 0.0), (60.0, 60.0, 2.0), (0.5, 0.5, 2.0))
    for paint, area in [
        (lambda canvas: canvas.ellipse((3.0, -2.0), (10.0, 6.0), 1.0, turn=0.4), np.pi * 60),
        (lambda canvas: canvas.bar((-5.0, 0.0), (7.0, 5.0), 3.0, 1.0), 2 * 3 * 13 + np.pi * 9),
        (lambda canvas: canvas.fill(Superellipse(axes, (1.0, 1.0), (12.0, 8.0), 2.0).distance(0.5), 1.0), np.pi * 24),
    ]:
        canvas = Canvas(axes, np.zeros(axes.shape[1:], np.float32))
        paint(canvas)
        assert_allclose(canvas.hu.sum() * 0.25, area, rtol=0.02)
