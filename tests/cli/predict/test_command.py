"""`predict` as a user calls it."""

import csv
import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

from segpipe.__main__ import main
from segpipe.cli.predict.command import _job, run
from segpipe.cli.predict.flags import EXPLANATIONS, parse_flags
from segpipe.cli.predict.outcomes import describe_findings
from segpipe.errors import ConfigError, ImageError, ModelError
from segpipe.export import shipped
from segpipe.export.shipped import find_model
from segpipe.geometry import Grid
from segpipe.inference.explanation.attribution import METHODS
from segpipe.inference.prompts.prompt import Prompt
from segpipe.io.images.volumes import write_volume
from segpipe.system.files.held_folder import hold
from tests.inference.follow_up.test_matching import ISOTROPIC, body, predicted
from tests.samples.small_models import POINT, write_small
from tests.support.processes import segpipe

AFFINE = np.array([[-1.0, 0, 0, 20], [0, -1.0, 0, 30], [0, 0, 2.0, -40], [0, 0, 0, 1]])
SHAPE = (36, 34, 18)
REQUIRED = ["--model", "m", "--input", "i", "--output", "o"]


@pytest.fixture
def scans(tmp_path):
    folder = tmp_path / "scans"
    for seed, name in enumerate(("one.nii.gz", "two.nrrd", "two.mha")):
        image = np.random.default_rng(seed).integers(-1000, 300, SHAPE).astype(np.int16)
        write_volume(folder / name, image, Grid(SHAPE, AFFINE))
    return folder


def words(model, given, output, *more):
    return ["--model", str(model), "--input", str(given), "--output", str(output), *more]


@pytest.mark.usefixtures("without_onnx")
def test_windows_overlap_as_in_the_models_evaluation_unless_the_command_line_says_it(tmp_path):
    write_small(tmp_path / "says", operating_point={**POINT, "flips": [1], "overlap": 0.25})
    write_small(tmp_path / "says_not")
    for model, more, expected in (
        ("says", [], (0.25, (1,))),
        ("says", ["--overlap", "0.75"], (0.75, (1,))),
        ("says", ["--overlap", "0", "--flips", "none"], (0.0, ())),
        ("says_not", [], (0.5, ())),
    ):
        options = _job(parse_flags(words(tmp_path / model, "scan", tmp_path / "out", *more))).options
        assert (options.overlap, options.flips) == expected


@pytest.mark.slow
def test_a_folder_of_scans(untrained_model, scans, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(words(untrained_model, scans, out, "--threshold", "0.4", "--exact")) == 0
    assert sorted(file.name for file in out.iterdir()) == [
        ".segpipe", "findings.csv", "one.json", "one.nii.gz",
        "two-1.json", "two-1.nii.gz", "two-2.json", "two-2.nii.gz",
    ]  # fmt: skip
    mask = nibabel.load(out / "one.nii.gz")
    np.testing.assert_allclose(mask.affine, AFFINE)
    assert mask.shape == SHAPE
    assert set(np.unique(mask.get_fdata())) <= {0, 1}
    reported = capsys.readouterr()
    assert "computed by torch on cpu, float32" in reported.out
    assert "operating point: probability 0.4, 0 mm³, confidence 0 (asked for)" in reported.out
    assert "time: reading" in reported.out
    assert "predicting: 3 of 3 scans" in reported.err
    with (out / "findings.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert {row["scan"] for row in rows} <= {"one", "two-1", "two-2"}
    assert f"3 scans, {len(rows)} findings" in reported.out


@pytest.mark.slow
def test_a_folder_that_another_call_writes_to_is_refused(untrained_model, scans, tmp_path):
    with hold(tmp_path), pytest.raises(ConfigError, match="another process is at work") as caught:
        run(words(untrained_model, scans, tmp_path))
    assert "--output" in caught.value.hint


@pytest.mark.slow
def test_a_bad_scan_is_named_and_the_second_call_resumes(untrained_model, scans, tmp_path, capsys):
    (scans / "one.nii.gz").write_bytes(b"x")
    out = tmp_path / "out"
    assert run(words(untrained_model, scans, out)) == 2
    reported = capsys.readouterr()
    assert "left out: one" in reported.out
    assert "ImageError: the image file cannot be read" in reported.err
    assert "Traceback" not in reported.err
    assert run(words(untrained_model, scans, out)) == 2
    assert "2 of them were done before" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["onnx", "openvino"])
def test_backends_agree(untrained_model, scans, tmp_path, capsys, backend):
    if backend == "openvino":
        pytest.importorskip("openvino")
    scan, level = scans / "one.nii.gz", _middle_probability(untrained_model, scans / "one.nii.gz")
    masks = []
    for name in ("torch", backend):
        more = ["--backend", name, "--exact", "--threshold", level, "--search", "everywhere"]
        assert run(words(untrained_model, scan, tmp_path / name, *more)) == 0
        masks.append(nibabel.load(tmp_path / name / "one.nii.gz").get_fdata())
    assert 0.2 < masks[0].mean() < 0.8, "the comparison needs a mask with a border"
    assert 2 * (masks[0] * masks[1]).sum() / (masks[0].sum() + masks[1].sum()) > 0.999
    assert {"onnx": "onnxruntime on cpu, float32", "openvino": "openvino on cpu, float32"}[
        backend
    ] in capsys.readouterr().out


def _middle_probability(model, scan):
    """A threshold that cuts the untrained network's probabilities in two halves."""
    from segpipe.case import Case
    from segpipe.export.model_folder import load_network, read_model_folder
    from segpipe.inference.engines.engine import TorchEngine
    from segpipe.inference.options import PredictOptions
    from segpipe.inference.predictor import predict_case
    from segpipe.io.images.volumes import read_volume

    folder, volume = read_model_folder(model), read_volume(scan)
    engine = TorchEngine(load_network(folder), device="cpu", precision="fp32")
    case = Case("x", volume.array, volume.grid)
    probability = predict_case(case, folder.recipe, engine, PredictOptions(), divisor=folder.divisor).probability
    return f"{np.median(probability):.6f}"


@pytest.mark.slow
def test_a_point_chooses_one_lesion_and_may_be_negative(untrained_model, scans, tmp_path):
    threshold = _middle_probability(untrained_model, scans / "one.nii.gz")
    out = tmp_path / "out"
    given = words(untrained_model, scans / "one.nii.gz", out, "--threshold", threshold, "--at", "-2.5,10,-10")
    assert run(given) == 0
    assert len(json.loads((out / "one.json").read_text())["findings"]) == 1


@pytest.mark.slow
def test_a_point_outside_the_scan_is_reported(untrained_model, scans, tmp_path, capsys):
    given = words(untrained_model, scans / "one.nii.gz", tmp_path / "out", "--at", "500,0,0")
    assert run(given) == 2
    assert "GeometryError: the point must lie in the scan" in capsys.readouterr().err


@pytest.mark.slow
def test_growth_since_an_earlier_scan(untrained_model, tmp_path, capsys):
    for name in ("first", "second"):
        write_volume(tmp_path / f"{name}.nii.gz", body(), Grid(body().shape, ISOTROPIC))
    common = ["--search", "everywhere", "--threshold", "0.52", "--overlap", "0"]
    assert run(words(untrained_model, tmp_path / "first.nii.gz", tmp_path / "a", *common)) == 0
    more = ["--follow-up", str(tmp_path / "a" / "first.json"), "--days", "90"]
    assert run(words(untrained_model, tmp_path / "second.nii.gz", tmp_path / "b", *common, *more)) == 0
    content = json.loads((tmp_path / "b" / "second.follow_up.json").read_text())
    assert {lesion["status"] for lesion in content["lesions"]} <= {"matched"}
    assert "follow-up: " in capsys.readouterr().out


@pytest.mark.slow
def test_a_large_scan_without_lungs_is_refused(untrained_model, tmp_path, capsys):
    shape = (60, 60, 30)
    image = np.random.default_rng(0).integers(-20, 80, shape).astype(np.int16)
    scan = write_volume(tmp_path / "abdomen.nii.gz", image, Grid(shape, np.diag([-4.0, -4.0, 4.0, 1.0])))
    assert run(words(untrained_model, scan, tmp_path / "out")) == 2
    assert "ImageError: no lungs are found in the scan" in capsys.readouterr().err
    assert run(words(untrained_model, scan, tmp_path / "out", "--search", "everywhere", "--overlap", "0")) == 0


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--at", "1,2"], "a point is three numbers"),
        (["--at", "1,2,x"], "a point is three numbers"),
        (["--flips", "xw"], "axes to mirror are some of x, y and z"),
        (["--unknown"], "unrecognized arguments: --unknown"),
        (["--device", "tpu"], "invalid choice: 'tpu'"),
        (["--search", "heart"], "invalid choice: 'heart'"),
    ],
)
def test_flags_that_cannot_be_read_are_reported(flags, message):
    with pytest.raises(ConfigError, match=message):
        parse_flags([*REQUIRED, *flags])


def test_missing_flags_are_reported():
    with pytest.raises(ConfigError, match="--input, --output"):
        parse_flags([])


@pytest.mark.parametrize("words", [["--at", "-1,-2.5,3"], ["--at=-1,-2.5,3"]])
def test_a_point_may_begin_with_a_minus_sign(words):
    assert parse_flags([*REQUIRED, *words]).prompt == Prompt(((-1.0, -2.5, 3.0),))


def test_the_help_states_the_frame_of_a_point(capsys):
    with pytest.raises(SystemExit) as caught:
        parse_flags(["--help"])
    assert caught.value.code == 0
    assert "RAS+" in capsys.readouterr().out


def test_while_none_ships_that_takes_a_point_a_model_must_be_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(shipped, "FOLDER", tmp_path)
    (tmp_path / "lidc-ratings").mkdir()
    with pytest.raises(ConfigError, match="predict needs --model"):
        parse_flags(["--input", "i", "--output", "o", "--at", "1,2,3"])
    with pytest.raises(SystemExit):
        parse_flags(["--help"])
    assert "lidc-voi" not in capsys.readouterr().out


def test_without_a_model_a_shipped_one_measures_a_point_and_another_searches_the_scan(tmp_path, monkeypatch):
    monkeypatch.setattr(shipped, "FOLDER", tmp_path)
    (tmp_path / "lidc-voi").mkdir()
    without = ["--input", "i", "--output", "o"]
    assert parse_flags([*without, "--at", "1,2,3"]).model == find_model("lidc-voi")
    assert parse_flags([*without, "--at", "1,2,3", "--model", "m"]).model == Path("m")
    with pytest.raises(ConfigError, match="predict needs --model") as caught:
        parse_flags(without)
    assert caught.value.facts == {"shipped": "lidc-voi"}
    (tmp_path / "lung-nodules").mkdir()
    assert parse_flags(without).model == find_model("lung-nodules")


def test_an_unknown_model_is_answered_with_the_shipped_ones(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(shipped, "FOLDER", tmp_path / "models")
    (tmp_path / "models" / "lidc-voi").mkdir(parents=True)
    assert main(["predict", *words("unknown", tmp_path, tmp_path / "out")]) == 2
    reported = capsys.readouterr().err
    assert "ModelError: there is no such model" in reported
    assert "shipped  lidc-voi" in reported


def test_mistakes_are_reported_before_any_work(tmp_path):
    with pytest.raises(ConfigError, match="unknown output format"):
        run(words(tmp_path, tmp_path, tmp_path / "out", "--output-format", "png"))
    with pytest.raises(ConfigError, match="memory must be an amount"):
        run(words(tmp_path, tmp_path, tmp_path / "out", "--memory", "much"))
    with pytest.raises(ModelError, match=r"a model folder must hold segpipe\.json"):
        run(words(tmp_path, tmp_path, tmp_path / "out"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--at", "0,0,0"], "--at belongs to one scan"),
        (["--days", "30"], "--days is the time since"),
        (["--uncertainty", "--output-format", "rtstruct"], "--uncertainty is for one of nifti, csv, json and html"),
        (["--explain", "--backend", "onnx"], "--explain needs a network that PyTorch runs"),
        (["--output-format", "dicom-map"], "the format dicom-map is of explanations"),
        (["--uncertainty", "ensemble"], "needs a network of several members"),
        (["--backend", "tensorrt"], "unknown backend"),
        (["--backend", "onnx", "--device", "cuda"], "this ONNX Runtime does not compute on CUDA"),
        (["--sensitivity", "0.9", "--threshold", "0.5"], "only one wish"),
        (["--overlap", "1.0"], "overlap must be"),
    ],
)
def test_flags_that_do_not_fit_are_reported(untrained_model, scans, tmp_path, more, message):
    with pytest.raises(ConfigError, match=message):
        run(words(untrained_model, scans, tmp_path / "out", *more))


def test_dicom_objects_bring_explanations_as_dicom_objects():
    assert (
        parse_flags([*REQUIRED, "--explain", "--output-format", "nifti", "dicom-sr"]).output_format[-1] == "dicom-map"
    )
    assert "dicom-map" not in parse_flags([*REQUIRED, "--explain"]).output_format
    assert parse_flags([*REQUIRED, "--explain", "occlusion"]).explain == "occlusion"
    assert METHODS == EXPLANATIONS


@pytest.mark.slow
def test_a_follow_up_that_cannot_be_made_is_reported_before_anything_is_predicted(untrained_model, scans, tmp_path):
    given = words(untrained_model, scans, tmp_path / "out", "--follow-up")
    with pytest.raises(ImageError, match="the findings cannot be read"):
        run([*given, str(tmp_path / "x.json")])
    earlier = predicted(tmp_path, "first", body(), [])
    with pytest.raises(ConfigError, match="--follow-up belongs to one scan"):
        run([*given, str(earlier)])
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_an_input_that_is_not_there_is_reported(untrained_model, tmp_path):
    with pytest.raises(ImageError, match="the input must exist"):
        run(words(untrained_model, tmp_path / "missing", tmp_path / "out"))


def test_the_process_ends_with_code_2_and_no_traceback(tmp_path):
    reported = segpipe("predict", *words(tmp_path, tmp_path, tmp_path / "out"), cwd=tmp_path, code=2)
    assert reported.startswith("ModelError: a model folder must hold segpipe.json")
    assert "Traceback" not in reported


def test_findings_that_a_human_should_look_at_are_counted():
    sure, unsure = {"reliability": {"refer": False}}, {"reliability": {"refer": True}}
    text = describe_findings({"a": [sure, unsure, {}], "b": [unsure], "c": None}, [], Path("out"))
    assert text.splitlines()[:2] == [
        "2 scans, 4 findings: out",
        "a human should look at 2 of them, whose outlines are the least sure",
    ]
    assert "human" not in describe_findings({"a": [sure, {}]}, [], Path("out"))
