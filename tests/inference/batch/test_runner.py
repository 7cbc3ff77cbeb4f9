"""Many scans through one model: streaming, resuming, naming what is bad."""

import json
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK
import torch
from torch import nn

from segpipe.errors import OutputError
from segpipe.export.model_folder import ModelFolder
from segpipe.geometry import Grid
from segpipe.inference.batch.memory import BYTES_PER_VOXEL, MemoryBound
from segpipe.inference.batch.results import WRITERS, finding_row
from segpipe.inference.batch.runner import PredictionJob, predict_scans
from segpipe.inference.batch.scans import find_scans
from segpipe.inference.engines.engine import TorchEngine
from segpipe.inference.options import PredictOptions
from segpipe.inference.stage_timer import StageTimer
from segpipe.io.images.volumes import read_volume, write_volume
from segpipe.preprocessing.recipe import Recipe

SHAPE = (30, 28, 20)
GRID = Grid(SHAPE, np.array([[-1.0, 0, 0, 5], [0, -1.2, 0, 6], [0, 0, 2.0, 7], [0, 0, 0, 1]]))
RECIPE = Recipe("test", (1.0, 1.0, 1.5), (-1000.0, 400.0), (16, 16, 16))
PLENTY = MemoryBound(2**40, base=0)


class Bright:
    name = "bright"

    def __init__(self):
        self.calls = 0

    def __call__(self, patches):
        self.calls += 1
        return torch.sigmoid((patches - 0.4) * 20)


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "segpipe.json").write_text("{}")
    return ModelFolder(folder, RECIPE, {"name": "unet"}, (1, 1, 1), {}, {})


@pytest.fixture
def inputs(tmp_path):
    folder = tmp_path / "scans"
    rng = np.random.default_rng(0)
    for number in range(3):
        image = rng.integers(-1000, -900, SHAPE).astype(np.int16)
        image[5 + number : 12, 10:16, 4:9] = 40
        write_volume(folder / f"scan{number}.nii.gz", image, GRID)
    return folder


def job(model, output, **options):
    return PredictionJob(model, Bright(), PredictOptions(keep_probability=False, **options), WRITERS, output)


def run(inputs, job, bound=PLENTY):
    return list(predict_scans(find_scans(inputs), job, bound=bound, timer=StageTimer()))


def test_each_scan_gets_its_mask_and_findings(model, inputs, tmp_path):
    outcomes = run(inputs, job(model, tmp_path / "out"))
    assert [outcome.scan.name for outcome in outcomes] == ["scan0", "scan1", "scan2"]
    for number, outcome in enumerate(outcomes):
        mask = read_volume(tmp_path / "out" / f"scan{number}.nii.gz")
        assert mask.grid.matches(GRID)
        expected = np.zeros(SHAPE)
        expected[5 + number : 12, 10:16, 4:9] = 1
        assert 2 * (mask.array * expected).sum() / (mask.array.sum() + expected.sum()) > 0.95
        (finding,) = outcome.findings
        assert finding["volume_mm3"] == pytest.approx(mask.array.sum() * 2.4)


def test_a_second_call_does_nothing_again(model, inputs, tmp_path):
    first, second = job(model, tmp_path / "out"), job(model, tmp_path / "out")
    before = run(inputs, first)
    again = run(inputs, second)
    assert second.engine.calls == 0
    assert all(outcome.resumed for outcome in again)
    assert [outcome.findings for outcome in again] == [outcome.findings for outcome in before]


def test_a_call_that_was_interrupted_goes_on(model, inputs, tmp_path):
    output = tmp_path / "out"
    flow = predict_scans(
        find_scans(inputs), job(model, output), bound=MemoryBound(0, base=-(10**9)), timer=StageTimer()
    )
    next(flow)
    flow.close()
    resumed = [outcome.resumed for outcome in run(inputs, job(model, output))]
    assert resumed[0]
    assert len(resumed) == 3
    assert sorted(file.name for file in output.glob("*.nii.gz")) == ["scan0.nii.gz", "scan1.nii.gz", "scan2.nii.gz"]


@pytest.mark.parametrize("change", ["options", "model", "scan"])
def test_whatever_a_result_depends_on_makes_it_new(model, inputs, tmp_path, change):
    run(inputs, job(model, tmp_path / "out"))
    if change == "model":
        (model.path / "segpipe.json").write_text("{ }")
    if change == "scan":
        volume = read_volume(inputs / "scan1.nii.gz")
        write_volume(inputs / "scan1.nii.gz", volume.array[::-1], GRID)
    options = {"threshold": 0.6} if change == "options" else {}
    again = {outcome.scan.name: outcome.resumed for outcome in run(inputs, job(model, tmp_path / "out", **options))}
    assert again == {"scan0": change == "scan", "scan1": False, "scan2": change == "scan"}


def test_a_bad_scan_is_named_and_the_others_are_done(model, inputs, tmp_path):
    whole = (inputs / "scan1.nii.gz").read_bytes()
    (inputs / "scan1.nii.gz").write_bytes(whole[: len(whole) // 2])
    volume = read_volume(inputs / "scan2.nii.gz")
    write_volume(inputs / "scan2.nii.gz", np.where(volume.array > 0, np.nan, volume.array), GRID)
    outcomes = {outcome.scan.name: outcome for outcome in run(inputs, job(model, tmp_path / "out"))}
    assert outcomes["scan0"].error is None
    assert outcomes["scan1"].error.message == "the image file cannot be read"
    assert outcomes["scan2"].error.message == "all voxels must be finite"
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [".segpipe", "scan0.json", "scan0.nii.gz"]


def test_a_scan_that_became_bad_leaves_no_stale_result(model, inputs, tmp_path):
    run(inputs, job(model, tmp_path / "out"))
    (inputs / "scan0.nii.gz").write_bytes(b"x")
    run(inputs, job(model, tmp_path / "out"))
    assert not (tmp_path / "out" / "scan0.nii.gz").exists()


def test_the_result_does_not_depend_on_the_bound(model, inputs, tmp_path):
    one = BYTES_PER_VOXEL * np.prod(SHAPE)
    layer = 3 * 4 * 30 * 34 * 16
    run(inputs, job(model, tmp_path / "much"), PLENTY)
    run(inputs, job(model, tmp_path / "little"), MemoryBound(int(one + layer), base=0))
    for number in range(3):
        much, little = (read_volume(tmp_path / name / f"scan{number}.nii.gz").array for name in ("much", "little"))
        np.testing.assert_array_equal(much, little)
        assert much.any()
        texts = {(tmp_path / name / f"scan{number}.json").read_text() for name in ("much", "little")}
        assert len(texts) == 1


def test_scans_beyond_the_bound_are_refused_by_name(model, inputs, tmp_path):
    outcomes = run(inputs, job(model, tmp_path / "out"), MemoryBound(1000, base=0))
    assert {outcome.error.message for outcome in outcomes} == {"the scan needs more memory than allowed"}
    assert not (tmp_path / "out").exists()


def test_an_output_that_cannot_be_written_stops_everything(model, inputs, tmp_path):
    (tmp_path / "out").write_text("a file where the folder should be")
    with pytest.raises(OutputError):
        run(inputs, job(model, tmp_path / "out"))


def test_settings_are_plain_and_complete(model, tmp_path):
    settings = json.loads(json.dumps(job(model, tmp_path, flips=(0, 2)).settings))
    assert settings["options"] == {
        "overlap": 0.5,
        "flips": [0, 2],
        "threshold": 0.5,
        "min_volume_mm3": 0.0,
        "min_probability": 0.0,
        "batch": None,
        "uncertainty": None,
        "region": "lung_mask",
    }
    assert settings["computed_by"] == "bright"
    assert settings["recipe"] == RECIPE.digest


def test_maps_of_uncertainty_are_on_the_scans_own_grid_in_bits_and_change_no_mask(model, inputs, tmp_path):
    run(inputs, job(model, tmp_path / "plain"))
    (finding,) = run(inputs, job(model, tmp_path / "out", uncertainty="flips"))[0].findings
    assert (tmp_path / "out/scan0.nii.gz").read_bytes() == (tmp_path / "plain/scan0.nii.gz").read_bytes()
    image = SimpleITK.ReadImage(tmp_path / "out/uncertainty/scan0.entropy.nii.gz")
    entropy = SimpleITK.GetArrayFromImage(image).T
    mask = read_volume(tmp_path / "out/scan0.nii.gz")
    assert read_volume(tmp_path / "out/uncertainty/scan0.entropy.nii.gz").grid.matches(GRID)
    assert 0.5 < entropy.max() <= 1.0001
    assert finding["uncertainty"]["entropy_bits"] == pytest.approx(entropy[mask.array > 0].mean(), abs=1e-5)
    assert not read_volume(tmp_path / "out/uncertainty/scan0.mutual_information.nii.gz").array.any()
    content = json.loads((tmp_path / "out/scan0.json").read_text())
    assert content["uncertainty"]["entropy"].startswith("bits")
    assert content["options"]["uncertainty"] == "flips"
    row = finding_row("scan0", finding)
    assert row["entropy_bits"] == f"{finding['uncertainty']['entropy_bits']:.6g}"
    assert "entropy_bits" not in finding_row("scan0", {**finding, "uncertainty": None})


def test_explanations_are_written_on_the_scans_own_grid(model, inputs, tmp_path):
    asked = replace(job(model, tmp_path / "out"), engine=TorchEngine(Linear(), device="cpu"), explain="gradients")
    outcomes = run(inputs, asked)
    assert all(outcome.error is None for outcome in outcomes)
    shown = read_volume(tmp_path / "out/explanation/scan1.gradients.nii.gz")
    assert shown.grid.matches(GRID)
    assert (shown.array[7:11, 11:15, 5:8] > 0).all()
    content = json.loads((tmp_path / "out/scan1.json").read_text())
    assert content["explain"] == "gradients"
    assert "log odds" in content["explanations"]["gradients"]


class Linear(nn.Module):
    def __init__(self):
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(20.0))

    def forward(self, images):
        return torch.cat([torch.zeros_like(images), (images - 0.4) * self.slope], dim=1)


def test_the_table_says_how_far_a_finding_can_be_relied_on(model, inputs, tmp_path):
    known = {
        "confidence": 0.25,
        "refer": True,
        "volume_low_mm3": 100.0,
        "volume_high_mm3": None,
        "volume_coverage": 0.9,
    }
    (finding,) = run(inputs, job(model, tmp_path / "out"))[0].findings
    row = finding_row("scan0", {**finding, "reliability": known})
    assert (row["calibrated_confidence"], row["refer_to_human"], row["volume_low_mm3"]) == ("0.25", True, "100")
    assert row["volume_high_mm3"] is None


def test_the_time_per_stage_is_reported(model, inputs, tmp_path):
    timer = StageTimer()
    list(predict_scans(find_scans(inputs), job(model, tmp_path / "out"), bound=PLENTY, timer=timer))
    assert set(timer.seconds) == {"reading", "region", "preparation", "network", "way back", "findings", "writing"}
    assert timer.describe().startswith("reading ")


def test_a_format_that_fails_costs_neither_the_other_formats_nor_other_scans(model, inputs, tmp_path):
    def fail(result, folder):
        if result.scan.name == "scan1":
            raise KeyError("code")
        return []

    scans, settings = find_scans(inputs), job(model, tmp_path / "out")
    outcomes = {
        outcome.scan.name: outcome
        for outcome in predict_scans(
            scans, replace(settings, writers={"odd": fail, **WRITERS}), bound=PLENTY, timer=StageTimer()
        )
    }

    assert all((tmp_path / "out" / f"scan{number}.nii.gz").is_file() for number in range(3))
    assert [name for name, outcome in outcomes.items() if outcome.error] == ["scan1"]
    assert outcomes["scan1"].findings
    assert outcomes["scan1"].error.facts["format"] == "odd"
