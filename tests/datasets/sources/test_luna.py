"""LUNA16's nodules become spheres where the table has them, and are marked as spheres."""

import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from segpipe.datasets.sources.base import IngestRequest
from segpipe.datasets.sources.luna import Sphere, paint
from segpipe.datasets.sources.registry import SOURCES
from segpipe.errors import DatasetError, GeometryError, ImageError
from segpipe.geometry import Grid, to_world
from segpipe.io.images.volumes import read_volume

UID = "1.3.6.1.4.1.14519.5.2.1.6279.6001.1"
HEADER = "seriesuid,coordX,coordY,coordZ,diameter_mm\n"


def _scan(folder, uid, direction=(1, 0, 0, 0, 1, 0, 0, 0, 1)):
    folder.mkdir(parents=True, exist_ok=True)
    image = SimpleITK.GetImageFromArray(np.random.default_rng(1).integers(-1000, 300, (20, 30, 40)).astype(np.int16))
    image.SetSpacing((0.7, 0.7, 1.25))
    image.SetOrigin((-100.0, -50.0, 30.0))
    image.SetDirection(direction)
    SimpleITK.WriteImage(image, str(folder / f"{uid}.mhd"))
    return image


def _ingest(tmp_path, **options):
    given = {flag.name: flag.default for flag in SOURCES["luna16"].flags} | options
    return SOURCES["luna16"].read(IngestRequest(tmp_path / "data", tmp_path / "in", workers=0, options=given))


@pytest.mark.parametrize("direction", [(1, 0, 0, 0, 1, 0, 0, 0, 1), (-1, 0, 0, 0, -1, 0, 0, 0, 1)])
def test_a_sphere_lies_where_itk_says_and_has_its_volume(tmp_path, direction):
    image = _scan(tmp_path / "in" / "subset3", UID, direction)
    x, y, z = image.TransformIndexToPhysicalPoint((12, 15, 9))
    (tmp_path / "in" / "annotations.csv").write_text(f"{HEADER}{UID},{x},{y},{z},8.0\n")

    manifest, made = _ingest(tmp_path)

    (entry,) = manifest.entries
    scan, mask = read_volume(entry.image), read_volume(entry.mask)
    assert_array_equal(scan.array, SimpleITK.GetArrayFromImage(image).transpose(2, 1, 0))
    assert scan.grid.matches(mask.grid)
    assert_allclose(np.argwhere(mask.array).mean(axis=0), (12, 15, 9), atol=1e-6)
    assert mask.array.sum() * 0.7 * 0.7 * 1.25 == pytest.approx(4 / 3 * np.pi * 4**3, rel=0.1)
    assert entry.extra["sphere"] is True
    assert entry.extra["subset"] == 3
    assert entry.extra["spheres"] == [{"centre_mm": [-x, -y, z], "diameter_mm": 8.0}]
    assert made.errors == ()


def test_a_scan_that_the_table_does_not_name_has_no_nodule_and_no_uid_is_left(tmp_path):
    _scan(tmp_path / "in" / "subset0", UID)
    (tmp_path / "in" / "annotations.csv").write_text(HEADER)

    manifest, _ = _ingest(tmp_path)

    assert manifest.entries[0].extra["lesions"] == 0
    assert not [path for path in (tmp_path / "data").rglob("*") if UID in path.name or UID.encode() in _bytes(path)]
    assert _ingest(tmp_path)[1].new == 0


def _bytes(path):
    return path.read_bytes() if path.is_file() else b""


def test_bad_cases_are_named_without_their_uid(tmp_path):
    _scan(tmp_path / "in", UID)
    _scan(tmp_path / "in", f"{UID}2")
    (tmp_path / "in" / f"{UID}2.raw").unlink()
    (tmp_path / "in" / "annotations.csv").write_text(f"{HEADER}{UID},900,0,0,5\n")

    _, made = _ingest(tmp_path)

    assert [type(error) for error in made.errors] == [GeometryError, ImageError]
    assert "a nodule lies outside its scan" in str(made.errors[0])
    assert not any(UID in str(error) for error in made.errors)


@pytest.mark.parametrize(
    ("table", "message"),
    [(None, "the table cannot be read"), ("a,b\n", "lacks a column"), (f"{HEADER}u,1,2,x,4\n", "must hold numbers")],
)
def test_an_unusable_table_is_reported(tmp_path, table, message):
    _scan(tmp_path / "in", UID)
    if table:
        (tmp_path / "in" / "annotations.csv").write_text(table)

    with pytest.raises(DatasetError, match=message):
        _ingest(tmp_path)


def test_a_folder_without_scans_is_reported(tmp_path):
    (tmp_path / "in").mkdir()

    with pytest.raises(DatasetError, match="no MetaImage scan"):
        _ingest(tmp_path)


def test_a_sphere_smaller_than_a_voxel_is_still_seen():
    grid = Grid((10, 10, 10), np.diag([1.0, 1.0, 5.0, 1.0]))

    mask = paint([Sphere((4.3, 4.4, 22.0), 1.0)], grid)

    assert_array_equal(np.argwhere(mask), [[4, 4, 4]])


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10**6), diameter=st.floats(0.5, 12))
def test_a_voxel_counts_when_its_centre_lies_in_the_sphere(seed, diameter):
    from scipy.spatial.transform import Rotation

    rng = np.random.default_rng(seed)
    affine = np.eye(4)
    affine[:3, :3] = Rotation.random(random_state=seed).as_matrix() @ np.diag(rng.uniform(0.5, 2.5, 3))
    affine[:3, 3] = rng.uniform(-100, 100, 3)
    grid = Grid((14, 12, 10), affine)
    centre = to_world(affine, rng.uniform(0, [13, 11, 9]))

    mask = paint([Sphere(tuple(centre), diameter)], grid)

    indices = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1)
    inside = np.linalg.norm(to_world(affine, indices) - centre, axis=-1) <= diameter / 2
    assert mask[inside].all()
    assert mask.sum() - inside.sum() in (0, 1)


@pytest.mark.parametrize("row", ["nan,0,0,8", "0,inf,0,8", "0,0,0,inf", "0,0,0,-3", "0,0,0,0", "x,0,0,8"])
def test_a_nodule_without_place_or_size_is_reported_with_its_line(tmp_path, row):
    _scan(tmp_path / "in" / "subset0", UID)
    (tmp_path / "in" / "annotations.csv").write_text(f"{HEADER}{UID},{row}\n")

    with pytest.raises(DatasetError, match=r"must hold numbers[\s\S]*line +2"):
        _ingest(tmp_path)
