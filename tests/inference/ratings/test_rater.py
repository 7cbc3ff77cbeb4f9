"""Findings get the ratings that the network gives their own crop and measurements."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from segpipe.case import Case
from segpipe.cli.predict.command import run
from segpipe.errors import ModelError
from segpipe.export import rating_folder
from segpipe.export.rating_folder import write_rating_folder
from segpipe.geometry import Grid
from segpipe.inference.findings import ClassComponents, measure_findings
from segpipe.inference.measurements.rating import PredictedRating
from segpipe.inference.ratings.inputs import measurement_row
from segpipe.inference.ratings.rater import Rater
from segpipe.labels import NODULE, LabelMap
from segpipe.lesions import find_components
from segpipe.system.files.csv_table import read_csv
from tests.samples.small_rating_models import indifferent_model
from tests.samples.synthetic_chest import chest_series
from tests.samples.synthetic_dicom import save

LABELS = LabelMap.of("nodule")


class Recording(torch.nn.Module):
    """Keeps what it is given and finds every first grade certain."""

    def forward(self, crops, measurements):
        self.crops, self.measurements = crops, measurements
        return torch.eye(5)[:1].expand(len(crops), 2, 5)


@pytest.fixture
def two_nodules():
    """A scan with a cube of 6³ and one of 3³ voxels, its mask and its findings."""
    mask = np.zeros((40, 40, 40), dtype=np.uint8)
    mask[5:11, 5:11, 5:11], mask[30:33, 30:33, 30:33] = 1, 1
    case = Case("two", np.where(mask, 40, -850).astype(np.int16), Grid(mask.shape, np.eye(4)))
    found = ClassComponents(NODULE, find_components(mask), [1, 2], [(1.0, 1.0)] * 2)
    return case, mask, measure_findings(case, [found])


def test_a_rating_by_hand(two_nodules):
    rated = Rater(indifferent_model(), "").rate(*two_nodules, LABELS)
    assert len(rated) == 2
    ratings = rated[0].ratings
    assert ratings["malignancy"] == PredictedRating(
        1, "highly unlikely", pytest.approx(1 + 103 / 90), pytest.approx(1 / 2)
    )
    assert ratings["calcification"] == PredictedRating(0, "absent", pytest.approx(0.5), pytest.approx(0.5))
    assert replace(rated[0], ratings={}) == two_nodules[2][0]


def test_each_finding_has_its_own_crop_and_measurements(two_nodules):
    network = Recording()
    rated = Rater(replace(indifferent_model(), network=network), "").rate(*two_nodules, LABELS)
    assert rated[0].ratings["malignancy"] == PredictedRating(1, "highly unlikely", 1.0, 1.0)
    # along an axis the 2 mm steps ±1 and ±3 see 1/2, 1, 1 and 1/2 of six voxels, and 0, 1, 1 and 0 of three
    assert [float(inside.sum()) for inside in network.crops[:, 1]] == pytest.approx([3**3, 2**3])
    rows = [measurement_row(finding) for finding in two_nodules[2]]
    np.testing.assert_array_equal(network.measurements.numpy(), rows)


def test_no_finding_has_no_rating(two_nodules):
    case, mask, _ = two_nodules
    assert Rater(indifferent_model(), "").rate(case, np.zeros_like(mask), [], LABELS) == []


def test_a_model_of_other_measurements_is_refused():
    with pytest.raises(ModelError, match="the rating model takes other measurements"):
        Rater(replace(indifferent_model(), measurements=("size",)), "")


def test_plain_data_has_ratings_only_where_a_model_was_asked(two_nodules):
    plain = two_nodules[2][0].to_dict()
    rated = Rater(indifferent_model(), "").rate(*two_nodules, LABELS)[0].to_dict()
    assert "ratings" not in plain
    assert {**plain, "ratings": rated["ratings"]} == rated
    assert rated["ratings"]["malignancy"]["grade"] == 1


@pytest.mark.slow
def test_predict_writes_ratings_in_every_format(chest_model, tmp_path, monkeypatch):
    monkeypatch.setattr(rating_folder, "_write_onnx", lambda file, _: file.write_bytes(b""))
    ratings = write_rating_folder(tmp_path / "ratings", indifferent_model())
    scan, out = save(chest_series(), tmp_path / "ct"), tmp_path / "out"
    given = ["--model", str(chest_model), "--input", str(scan), "--output", str(out)]
    formats = ["--output-format", "json", "csv", "html", "dicom-sr"]
    assert run([*given, *formats, "--ratings", str(ratings)]) == 0
    (file,) = out.glob("*.json")
    content = json.loads(file.read_text())
    assert content["findings"][0]["ratings"]["calcification"]["name"] == "absent"
    assert len(content["ratings"]) == 16
    _, rows = read_csv(out / "findings.csv")
    assert (rows[0]["rating_malignancy"], rows[0]["rating_malignancy_confidence"]) == ("1", "0.500")
    (page,) = out.glob("*.html")
    assert "malignancy 1 highly unlikely (50 %), calcification 0 absent (50 %)" in page.read_text(encoding="utf-8")
    (report,) = out.glob("*.sr.dcm")
    before = report.read_bytes()
    assert run([*given, *formats]) == 0  # without ratings it is another result
    assert "ratings" not in json.loads(file.read_text())["findings"][0]
    assert report.read_bytes() != before
