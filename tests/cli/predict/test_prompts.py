"""A reader corrects a lesion of a DICOM series on the command line: every output is that of the corrected mask."""

import json

import nibabel
import numpy as np
import pydicom
import pytest

import segpipe
from segpipe.__main__ import main
from segpipe.cli.predict.command import run
from segpipe.errors import ConfigError
from segpipe.export.model_folder import ModelFolder
from segpipe.inference.prompts.prompt import Prompt
from tests.samples.small_models import VOI, write_small
from tests.samples.synthetic_dicom import ct_slices, save

AFFINE = np.diag([-1.0, -1.0, 1.5, 1.0])
CENTRE, BELOW = (20.0, 18.0, 18.0), (20.0, 18.0, 12.0)
FORMATS = ["nifti", "csv", "json", "html", "dicom-seg", "dicom-labelmap", "dicom-mask", "dicom-sr", "rtstruct"]


@pytest.fixture(scope="module")
def voi_model(tmp_path_factory):
    """A model of single lesions with random weights, its ONNX model empty."""
    from tests.samples.small_models import without_onnx_export

    with without_onnx_export():
        model: ModelFolder = write_small(tmp_path_factory.mktemp("voi") / "model", recipe=VOI, about={})
    return model.path


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    hu = np.random.default_rng(0).normal(-850, 30, (40, 36, 24)).astype(np.int16)
    hu[16:25, 14:23, 9:16] = 40
    return save(ct_slices(hu, AFFINE), tmp_path_factory.mktemp("scan") / "series")


def predict(model, series, output, *words):
    given = ["--model", str(model), "--input", str(series), "--output", str(output), "--output-format", *FORMATS]
    return main(["predict", *given, *words])


def text(point, mark=""):
    return mark + ",".join(map(str, point))


def voxel(image, point):
    return tuple(np.rint(np.linalg.solve(image.affine, (*point, 1.0))[:3]).astype(int))


def test_every_output_follows_the_points(voi_model, series, tmp_path):
    words = "--at", text(CENTRE, "+:"), text(BELOW, "-:")
    assert predict(voi_model, series, tmp_path, *words) == 0
    image = nibabel.load(tmp_path / "series.nii.gz")
    mask = np.asarray(image.dataobj)
    assert mask[voxel(image, CENTRE)] == 1
    assert mask[voxel(image, BELOW)] == 0
    content = json.loads((tmp_path / "series.json").read_text())
    assert content["prompt"] == {"positives": [list(CENTRE)], "negatives": [list(BELOW)]}
    segmentation = pydicom.dcmread(tmp_path / "series.seg.dcm")
    assert segmentation.pixel_array.sum() == mask.sum()
    assert {file.suffix for file in tmp_path.iterdir() if file.is_file()} == {".gz", ".csv", ".json", ".html", ".dcm"}


def test_objects_of_two_prompts_are_two_objects(voi_model, series, tmp_path):
    places = text(CENTRE), "19.0,18.0,18.0"
    for number, place in enumerate((*places, places[0])):
        assert predict(voi_model, series, tmp_path / str(number), "--at", "+:" + place, text(BELOW, "-:")) == 0
    first, other, again = (
        pydicom.dcmread(tmp_path / str(number) / "series.sr.dcm").SOPInstanceUID for number in range(3)
    )
    assert first != other
    assert first == again


@pytest.mark.parametrize("flag", ["--box", "--line"])
def test_a_box_and_a_line_are_followed(voi_model, series, tmp_path, flag):
    ends = (16.0, 14.0, 18.0), (24.0, 22.0, 18.0 if flag == "--line" else 24.0)
    assert predict(voi_model, series, tmp_path, flag, *map(text, ends)) == 0
    content = json.loads((tmp_path / "series.json").read_text())
    assert content["prompt"] == {flag.strip("-"): [list(end) for end in ends]}
    assert content["findings"]


def test_a_second_call_with_another_prompt_does_not_take_the_first_result(voi_model, series, tmp_path, capsys):
    for words in (["--at", text(CENTRE)], ["--at", text(CENTRE, "+:"), text(BELOW, "-:")]):
        assert predict(voi_model, series, tmp_path, *words) == 0
        assert "done before" not in capsys.readouterr().out
    assert predict(voi_model, series, tmp_path, *words) == 0
    assert "1 of them were done before" in capsys.readouterr().out


def test_points_outside_the_scan_are_reported_together(voi_model, series, tmp_path, capsys):
    assert predict(voi_model, series, tmp_path, "--at", text(CENTRE, "+:"), "+:500,0,0", "-:0,500,0") == 2
    reported = capsys.readouterr().err
    assert "the prompt does not fit the scan (2 mistakes)" in reported
    assert reported.count("the point must lie in the scan") == 2


def test_models_of_whole_scans_say_so_before_any_work(chest_model, series, tmp_path):
    words = [
        "--model",
        str(chest_model),
        "--input",
        str(series),
        "--output",
        str(tmp_path / "out"),
        "--box",
        "0,0,0,9,9,9",
    ]
    with pytest.raises(ConfigError, match="a model of whole scans follows a single point only"):
        run(words)
    assert not (tmp_path / "out").exists()


def test_a_program_gives_a_prompt(voi_model, series, tmp_path):
    prompt = Prompt((CENTRE,), (BELOW,))
    found = segpipe.predict(series, voi_model, at_mm=prompt, output=tmp_path)
    assert len(found.findings) == 1
    assert json.loads((tmp_path / "series.json").read_text())["prompt"] == prompt.to_dict()
