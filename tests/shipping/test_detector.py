"""From the run of a detector to a model in the package, with what it found in scans that it had not seen."""

import json

import pytest

from segpipe.export.model_folder import read_model_folder
from segpipe.export.shipped import find_model
from tests.samples.small_models import SCAN, UNET, without_onnx_export, write_small

HEAD = "rule,diameter,lesions,sensitivity_at_0.5,sensitivity_at_1,sensitivity_at_2,sensitivity_at_4"
LINES = ["centre,under 6 mm,4,0,0.25,0.25,0.5", "centre,6-8 mm,1,0,0,1,1", "centre,over 15 mm,3,0.3333,1,1,1"]


@pytest.fixture
def evaluation(tmp_path):
    folder = tmp_path / "evaluation"
    folder.mkdir()
    rows = [HEAD, "overlap,under 6 mm,4,0,0,0,0", *LINES]
    (folder / "froc_by_diameter.csv").write_text("\n".join(rows) + "\n")
    found = {"under 6 mm": {"found": 1}, "6-8 mm": {"found": 1}, "over 15 mm": {"found": 2}}
    summary = {"strata": {"diameter": found}, "lesions": {"fp_per_scan": 2.5}}
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder


def test_its_card_has_what_was_found_by_size_and_of_all_that_matter(evaluation):
    import detector

    assert list(detector.figures([("scans", evaluation)])) == [
        "| | lesions | found at 0.5 | found at 1 | found at 2 | found at 4 | at the operating point |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
        "| scans: under 6 mm | 4 | 0.00 | 0.25 | 0.25 | 0.50 | 1 of 4, 2.5 false a scan |",
        "| scans: 6-8 mm | 1 | 0.00 | 0.00 | 1.00 | 1.00 | 1 of 1, 2.5 false a scan |",
        "| scans: over 15 mm | 3 | 0.33 | 1.00 | 1.00 | 1.00 | 2 of 3, 2.5 false a scan |",
        "| scans: 6 mm and more | 4 | 0.25 | 0.75 | 1.00 | 1.00 | 3 of 4, 2.5 false a scan |",
    ]


@pytest.mark.slow
def test_a_run_becomes_a_model_of_the_package(evaluation, tmp_path, monkeypatch, capsys):
    import detector

    with without_onnx_export():
        write_small(tmp_path / "run" / "model", UNET, SCAN, about={"experiment": "tiny"})
    for name, text in (("attribution", "# Attribution\n\nOf nobody.\n"), ("limits", "- Few scans.\n")):
        (tmp_path / name).write_text(text)
    monkeypatch.setattr("segpipe.export.shipped.FOLDER", tmp_path / "models")
    monkeypatch.setattr(detector, "FOLDER", tmp_path / "models")
    monkeypatch.setattr(detector, "CROPS", 2)
    words = [tmp_path / "run", "--name", "lung-nodules", "--measured", f"scans={evaluation}"]
    words += ["--attribution", tmp_path / "attribution", "--limits", tmp_path / "limits"]
    monkeypatch.setattr("sys.argv", ["detector.py", *map(str, words)])
    detector.main()
    assert "ONNX Runtime and PyTorch:" in capsys.readouterr().out
    model = read_model_folder(find_model("lung-nodules"))
    card = (model.path / "docs" / "README.md").read_text()
    assert model.recipe.scope == "scan"
    assert "| scans: 6 mm and more | 4 |" in card
    assert "- Few scans." in card
    assert "predict --model lung-nodules --input SCAN" in card
    assert "Of nobody." in card
    assert not (model.path / "models" / "model.pt").exists()
