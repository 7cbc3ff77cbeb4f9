"""The benchmark of clicks: where it clicks, what a crop without borders shows, what its tables hold."""

import csv
import sys
from pathlib import Path

import numpy as np
import pytest

from segpipe.case import Case
from segpipe.datasets.manifest import Entry, Manifest, write_manifest
from segpipe.geometry import Grid
from segpipe.lesions import Voxels
from tests.samples.small_models import VOI, write_small

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
GRID = Grid((12, 12, 4), np.diag([1.0, 1.0, 2.0, 1.0]))


@pytest.fixture
def clicks(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import clicks

    return clicks


@pytest.fixture
def hide_borders(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    from hidden_borders import hide_borders

    return hide_borders


def crop() -> Case:
    """Lung with a wall from x = 9 on; a nodule through all slices."""
    image = np.full(GRID.shape, -850, dtype=np.int16)
    image[9:] = 40
    image[3:6, 4:7] = 0
    mask = np.zeros(GRID.shape, dtype=np.uint8)
    mask[3:6, 4:7] = 1
    return Case("crop", image, GRID, mask)


def test_a_crop_goes_on_beyond_its_borders_without_its_nodule(hide_borders):
    hidden = hide_borders(crop(), np.random.default_rng(0), margin_mm=10.0)
    assert hidden.grid.shape == (32, 32, 14)  # 10 voxels of 1 mm and 5 of 2 mm on each side
    np.testing.assert_allclose(hidden.grid.affine[:3, 3], [-10, -10, -10])
    assert np.array_equal(hidden.image[10:22, 10:22, 5:9], crop().image)
    assert np.array_equal(hidden.mask[10:22, 10:22, 5:9], crop().mask)
    assert hidden.mask.sum() == crop().mask.sum()
    assert (hidden.image[10:19, 10:22, 10] == -850).all()
    assert (hidden.image[19:22, 10:22, 10] == 40).all()  # the wall goes on


def test_a_nodule_shows_less_than_half_of_itself_where_it_is_not_outlined(hide_borders):
    hidden = hide_borders(crop(), np.random.default_rng(0), margin_mm=10.0)
    ends = hidden.image[13:16, 14:17, [4, 9]]  # the slices next to the crop, where it has 0 HU and the lung -850
    assert (ends > -850).all()
    assert (ends < -425).all()
    assert ends[0, 0, 0] != ends[0, 0, 1]


def test_where_nothing_but_nodule_is_known_there_is_lung(hide_borders):
    image = np.zeros(GRID.shape, dtype=np.int16)
    image[0, 0, 0] = -100
    hidden = hide_borders(Case("crop", image, GRID, np.ones(GRID.shape, np.uint8)), np.random.default_rng(0))
    assert (hidden.image[0] == -815).all()  # the middle of -980 and -650


def test_clicks_lie_at_their_distances_and_within_the_scan(clicks):
    lesion = Voxels(np.ones((3, 3, 1), dtype=bool), (5, 5, 1))  # its centre is voxel 6, 6, 1, which is 6, 6, 2 mm
    found = list(clicks.points(lesion, GRID, np.random.default_rng(0), directions=40))
    assert found[0] == (0.0, (6.0, 6.0, 2.0))
    assert [distance for distance, _ in found[1:]] == [2.0] * 40 + [4.0] * 40 + [6.0] * 40
    at = np.array([point for _, point in found])
    away = np.linalg.norm(at - [6, 6, 2], axis=1)
    np.testing.assert_allclose(away[1:41], 2.0)  # 2 mm below is the scan's last slice
    assert (away[41:81] <= 4 + 1e-9).all()
    assert (at >= 0).all()
    assert (at <= [11, 11, 6]).all()
    again = list(clicks.points(lesion, GRID, np.random.default_rng(0), directions=40))
    assert again == found


def test_dice_counts_what_lies_elsewhere(clicks):
    lesion = Voxels(np.ones((2, 1, 1), dtype=bool), (3, 3, 1))
    found = np.zeros(GRID.shape, dtype=bool)
    found[3, 3, 1] = found[9, 9, 2] = True
    assert clicks.dice_of(found, lesion) == 2 * 1 / (2 + 2)
    assert clicks.dice_of(np.zeros(GRID.shape, dtype=bool), lesion) == 0.0


def test_tables_of_crops_and_of_whole_scans(clicks, tiny_dataset, tmp_path, monkeypatch, capsys, without_onnx):
    write_small(tmp_path / "model", recipe=VOI, about={})
    for kind in ("images", "masks"):
        (tmp_path / "crops" / kind).mkdir(parents=True)
        for number in range(3):
            name = f"case_{number}.nii.gz"
            (tmp_path / "crops" / kind / name).symlink_to(tiny_dataset / kind / name)
    rows = ["nodule,patient", "case_0,a", "case_1,b", "case_2,b"]
    (tmp_path / "crops" / "nodules.csv").write_text("\n".join(rows) + "\n")
    given = ["--crops", tmp_path / "crops", "--csv", tmp_path / "clicks.csv", "--directions", 1, "--flips", "x"]
    monkeypatch.setattr(sys, "argv", ["clicks.py", *map(str, [tmp_path / "model", *given])])
    clicks.main()
    assert "crops with hidden borders: 3 lesions of 2 patients, " in capsys.readouterr().out
    with (tmp_path / "clicks.csv").open() as stream:
        found = list(csv.DictReader(stream))
    assert [row["distance_mm"] for row in found] == ["0.0", "2.0", "4.0", "6.0"] * 3
    assert [row["inside"] for row in found[:2]] == ["True", "True"]  # of a ball of at least 4 mm radius
    assert all(0 <= float(row["dice"]) <= 1 for row in found)


def test_each_model_clicks_at_the_lesions_of_its_own_scans(
    clicks, tiny_dataset, tmp_path, monkeypatch, capsys, without_onnx
):
    write_small(tmp_path / "model", recipe=VOI, about={})
    for name in ("one", "two"):
        entry = Entry(
            "case_0", "a", tiny_dataset / "images" / "case_0.nii.gz", tiny_dataset / "masks" / "case_0.nii.gz"
        )
        write_manifest(Manifest(name, "nifti", (entry,), {1: "nodule"}), tmp_path / name)
    given = [*[tmp_path / "model"] * 3, "--scans", tmp_path / "one", tmp_path / "two", "--directions", 1]
    monkeypatch.setattr(sys, "argv", ["clicks.py", *map(str, given), "--flips", "none"])
    clicks.main()
    assert "whole scans: 2 lesions of 2 patients, " in capsys.readouterr().out
