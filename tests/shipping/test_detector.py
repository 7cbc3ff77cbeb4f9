"""From the run of a detector to a model in the package, with what it found in scans that it had not seen."""

import json

import pytest

from segpipe.export.model_folder import read_model_folder
from segpipe.export.shipped import find_model
from tests.samples.small_models import SCAN, UNET, small_stage, without_onnx_export, write_small

HEAD = "rule,diameter,lesions,sensitivity_at_0.5,sensitivity_at_1,sensitivity_at_2,sensitivity_at_4"
LINES = ["centre,under 6 mm,4,0,0.25,0.25,0.5", "centre,6-8 mm,1,0,0,1,1", "centre,over 15 mm,3,0.3333,1,1,1"]


@pytest.fixture
def evaluation(tmp_path):
    folder = tmp_path / "evaluation"
    folder.mkdir()
    rows = [HEAD, "overlap,under 6 mm,4,0,0,0,0", *LINES]
    (folder / "froc_by_diameter.csv").write_text("\n".join(rows) + "\n")
    sizes = ("under 6 mm", 4, 1), ("6-8 mm", 1, 1), ("over 15 mm", 3, 2)
    found = {size: {"lesions": lesions, "found": found} for size, lesions, found in sizes}
    summary = {"strata": {"diameter": found}, "lesions": {"fp_per_scan": 2.5}}
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder


def test_its_card_has_what_was_found_by_size_and_of_all_that_matter(evaluation):
    import detector

    assert list(detector.figures([("scans", evaluation)])) == [
        "| | lesions | found at 0.5 | found at 1 | found at 2 | found at 4 |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
        "| scans: under 6 mm | 4 | 0.00 | 0.25 | 0.25 | 0.50 |",
        "| scans: 6-8 mm | 1 | 0.00 | 0.00 | 1.00 | 1.00 |",
        "| scans: over 15 mm | 3 | 0.33 | 1.00 | 1.00 | 1.00 |",
        "| scans: 6 mm and more | 4 | 0.25 | 0.75 | 1.00 | 1.00 |",
    ]
    wanted = "At its operating point this folder shows 3 of 4 lesions of 6 mm and more (scans), 2.5 false a scan."
    assert detector.at_point("scans", evaluation) == wanted


@pytest.mark.slow
@pytest.mark.parametrize("stage", [None, small_stage(1)], ids=["one stage", "two stages"])
def test_a_run_becomes_a_model_of_the_package(stage, evaluation, tmp_path, monkeypatch, capsys):
    import detector

    confidence = {"voxels": {"temperature": 0.8}, "origin": "by hand"}
    curve = [(0.9, 0.5, 0), (0.7, 0.8, 3), (0.6, 0.9, 5)]
    froc = [{"threshold": at, "sensitivity": found, "fp_per_scan": false} for at, found, false in curve]
    point = {"threshold": 0.5, "min_volume_mm3": 5.0, "min_probability": 0.9, "confidence": confidence, "froc": froc}
    point["origin"] = "by hand"
    with without_onnx_export():
        about = {"experiment": "tiny"}
        write_small(tmp_path / "run" / "model", UNET, SCAN, about=about, second_stage=stage, operating_point=point)
    for name, text in (("attribution", "# Attribution\n\nOf nobody.\n"), ("limits", "- Few scans.\n")):
        (tmp_path / name).write_text(text)
    monkeypatch.setattr("segpipe.export.shipped.FOLDER", tmp_path / "models")
    monkeypatch.setattr(detector, "FOLDER", tmp_path / "models")
    monkeypatch.setattr(detector, "CROPS", 2)
    words = [
        tmp_path / "run",
        "--name",
        "lung-nodules",
        "--measured",
        f"scans={evaluation}",
        "--at-point",
        f"others={evaluation}",
    ]
    words += ["--fp-per-scan", "4"]
    words += ["--attribution", tmp_path / "attribution", "--limits", tmp_path / "limits"]
    monkeypatch.setattr("sys.argv", ["detector.py", *map(str, words)])
    detector.main()
    assert "ONNX Runtime and PyTorch:" in capsys.readouterr().out
    model = read_model_folder(find_model("lung-nodules"))
    card = (model.path / "docs" / "README.md").read_text()
    assert model.recipe.scope == "scan"
    chosen = {"min_probability": 0.7, "origin": "by hand: at most 4 false positives a scan"}
    assert {name: model.operating_point[name] for name in point} == {**point, **chosen}
    assert "3 of 4 lesions of 6 mm and more (others), 2.5 false a scan." in card
    assert bool(model.second_stage) == bool(stage)
    assert "| scans: 6 mm and more | 4 |" in card
    assert "- Few scans." in card
    assert "predict --model lung-nodules --input SCAN" in card
    assert "Of nobody." in card
    assert not (model.path / "models" / "model.pt").exists()
