"""The recipe's steps against MONAI's transforms, against hand-computed grids, and there and back."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from monai.transforms import Orientation, ScaleIntensityRange, Spacing
from scipy.spatial.transform import Rotation

from segpipe.geometry import Grid, to_voxel, to_world
from segpipe.preprocessing.recipe import Recipe
from segpipe.preprocessing.resampling import (
    apply_window,
    interpolate,
    orient,
    plan_preparation,
    resample_to_recipe,
    resample_to_scan,
)

WINDOW = (-1000.0, 400.0)
PERMUTATIONS = [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]


def make_recipe(spacing_mm=(1.0, 1.0, 1.5), orientation="RAS"):
    return Recipe("test", spacing_mm, WINDOW, (8, 8, 8), orientation=orientation)


def make_affine(spacing_mm, *, order=(0, 1, 2), signs=(1, 1, 1), tilt_degrees=(0.0, 0.0, 0.0), origin=(0.0, 0.0, 0.0)):
    """An affine whose array axis i runs along world axis order[i], then turned by `tilt_degrees`."""
    axes = np.zeros((3, 3))
    for axis, (world, sign) in enumerate(zip(order, signs, strict=True)):
        axes[world, axis] = sign
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", tilt_degrees, degrees=True).as_matrix() @ axes * spacing_mm
    affine[:3, 3] = origin
    return affine


@st.composite
def grids(draw, max_tilt=25.0, min_voxels=4, max_voxels=14):
    shape = tuple(draw(st.integers(min_voxels, max_voxels)) for _ in range(3))
    spacing = [draw(st.floats(0.5, 3.0)) for _ in range(3)]
    affine = make_affine(
        spacing,
        order=draw(st.sampled_from(PERMUTATIONS)),
        signs=[draw(st.sampled_from([-1, 1])) for _ in range(3)],
        tilt_degrees=[draw(st.floats(-max_tilt, max_tilt)) for _ in range(3)],
        origin=[draw(st.floats(-300.0, 300.0)) for _ in range(3)],
    )
    return Grid(shape, affine)


def monai_prepare(image, grid, recipe):
    scan = MetaTensor(torch.from_numpy(image)[None].float(), affine=torch.from_numpy(grid.affine.copy()))
    oriented = Orientation(axcodes=recipe.orientation, labels=(("L", "R"), ("P", "A"), ("I", "S")))(scan)
    spaced = Spacing(pixdim=recipe.spacing_mm, mode="bilinear", padding_mode="border")(oriented)
    low, high = recipe.window_hu
    windowed = ScaleIntensityRange(a_min=low, a_max=high, b_min=0.0, b_max=1.0, clip=True)(spaced)
    return windowed[0].numpy(), spaced.affine.numpy()


def compare_with_monai(grid, recipe, seed=0):
    image = np.random.default_rng(seed).integers(-1100, 600, grid.shape).astype(np.int16)
    preparation = plan_preparation(grid, recipe)
    ours = apply_window(resample_to_recipe(image, preparation), recipe).numpy()
    theirs, affine = monai_prepare(image, grid, recipe)
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(preparation.grid.affine, affine, atol=1e-4)
    np.testing.assert_allclose(ours, theirs, atol=2e-4)


@pytest.mark.parametrize("order", PERMUTATIONS)
@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, -1, 1), (-1, 1, -1)])
def test_equals_monai_for_permuted_and_flipped_axes(order, signs):
    grid = Grid((13, 11, 9), make_affine((0.7, 0.9, 2.5), order=order, signs=signs, origin=(30.0, -20.0, 10.0)))
    compare_with_monai(grid, make_recipe())


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "SAR", "AIL"])
@pytest.mark.parametrize("tilt", [(0.0, 0.0, 20.0), (12.0, -8.0, 3.0), (-25.0, 10.0, -15.0)])
def test_equals_monai_for_oblique_axes(orientation, tilt):
    grid = Grid((13, 11, 9), make_affine((0.7, 0.9, 2.5), signs=(-1, -1, 1), tilt_degrees=tilt))
    compare_with_monai(grid, make_recipe(orientation=orientation))


@settings(max_examples=60, deadline=None)
@given(grid=grids(), spacing=st.tuples(*[st.floats(0.6, 3.0)] * 3), seed=st.integers(0, 2**16))
def test_equals_monai_for_any_grid(grid, spacing, seed):
    # MONAI and we may round half a voxel of extent to different sides; a test of that is a test of float noise
    extents = [(n - 1) * s for n, s in zip(grid.shape, grid.spacing_mm, strict=True)]
    recipe = make_recipe(tuple(spacing))
    wanted = plan_preparation(grid, recipe)
    halves = [extents[source] / spacing[target] % 1 for target, source in enumerate(wanted.order)]
    assume(all(abs(half - 0.5) >= 1e-3 for half in halves))
    # voxels that agree within a thousandth MONAI leaves as they are, and we resample them
    apart = np.abs(np.array(wanted.ratios) - 1)
    assume(apart.max() == 0 or apart.max() > 1.1e-3)
    compare_with_monai(grid, recipe, seed)


def test_grid_of_a_scan_from_a_pencil():
    # 5 voxels of 2 mm: 8 mm between the outer centres; at 1 mm that is 9 voxels. LPS axes are reversed, so that the
    # first voxel in RAS is the last of the scan.
    scan = Grid((5, 4, 3), np.diag([-2.0, -3.0, 2.5, 1.0]))
    preparation = plan_preparation(scan, make_recipe((1.0, 1.0, 5.0)))
    assert preparation.grid.shape == (9, 10, 2)
    assert preparation.flips == (True, True, False)
    expected = [[1.0, 0, 0, -8.0], [0, 1.0, 0, -9.0], [0, 0, 5.0, 0], [0, 0, 0, 1.0]]
    np.testing.assert_allclose(preparation.grid.affine, expected)


def test_values_from_a_pencil():
    scan = Grid((3, 1, 1), np.diag([2.0, 1.0, 1.0, 1.0]))
    image = np.array([0, 100, 300], dtype=np.int16).reshape(3, 1, 1)
    preparation = plan_preparation(scan, make_recipe((1.0, 1.0, 1.0)))
    assert resample_to_recipe(image, preparation).flatten().tolist() == [0.0, 50.0, 100.0, 200.0, 300.0]


def test_window_from_a_pencil():
    values = torch.tensor([-2000.0, -1000.0, -300.0, 400.0, 3000.0])
    np.testing.assert_allclose(apply_window(values, make_recipe()), [0.0, 0.0, 0.5, 1.0, 1.0])


def test_orient_makes_no_copy():
    scan = Grid((4, 3, 2), make_affine((1.0, 1.0, 1.0), order=(2, 0, 1), signs=(-1, 1, 1)))
    image = np.arange(24, dtype=np.int16).reshape(4, 3, 2)
    assert np.shares_memory(orient(image, plan_preparation(scan, make_recipe())), image)


@settings(max_examples=60, deadline=None)
@given(grid=grids())
def test_orientation_keeps_world_positions(grid):
    """Each voxel of the scan lies where the oriented grid, at the scan's own spacing, says that it lies."""
    directions = plan_preparation(grid, make_recipe())
    own = tuple(grid.spacing_mm[axis] for axis in directions.order)
    preparation = plan_preparation(grid, make_recipe(own))
    indices = np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij"))
    oriented = np.stack([orient(axis, preparation) for axis in indices], axis=-1)
    targets = np.stack(np.meshgrid(*[np.arange(n) for n in preparation.grid.shape], indexing="ij"), axis=-1)
    np.testing.assert_allclose(
        to_world(grid.affine, oriented), to_world(preparation.grid.affine, targets), atol=1e-6 * 300
    )


@settings(max_examples=60, deadline=None)
@given(grid=grids(), spacing=st.tuples(*[st.floats(0.6, 2.0)] * 3))
def test_a_linear_image_survives_there_and_back(grid, spacing):
    """Linear interpolation reproduces linear functions wherever it has voxels on both sides."""
    recipe = make_recipe(tuple(spacing))
    preparation = plan_preparation(grid, recipe)
    indices = np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij"), axis=-1)
    world = to_world(grid.affine, indices)
    image = (world @ [1.0, -2.0, 0.5]).astype(np.float32)
    back = resample_to_scan(resample_to_recipe(image, preparation), preparation).numpy()
    assert back.shape == grid.shape
    covered = to_voxel(preparation.grid.affine, world)
    # at the far border the recipe's grid may end up to half a recipe voxel before or after the scan's last centre
    far_spacing = [spacing[i] for i in range(3)]
    limits = [
        (grid.shape[preparation.order[i]] - 1) * grid.spacing_mm[preparation.order[i]] / far_spacing[i]
        for i in range(3)
    ]
    inner = np.minimum(np.array(preparation.grid.shape) - 1, np.floor(limits))
    inside = (covered <= inner + 1e-4).all(axis=-1)
    np.testing.assert_allclose(back[inside], image[inside], atol=2e-3)


def test_interpolate_at_fractional_indices():
    volume = torch.tensor([0.0, 10.0, 40.0]).reshape(3, 1, 1)
    positions = [torch.tensor([-1.0, 0.25, 1.5, 7.0], dtype=torch.float64), torch.zeros(1), torch.zeros(1)]
    assert interpolate(volume, positions).flatten().tolist() == [0.0, 2.5, 25.0, 40.0]
