"""A scan is compared with an earlier one: what became of each lesion stands in its JSON, its page and its report."""

import json
import re
from dataclasses import replace

import highdicom
import numpy as np
import pydicom
import pytest
import torch
from pydicom.sr.codedict import codes

from segpipe.export.model_folder import ModelFolder
from segpipe.inference.batch.dicom_results import derive, point_digest, write_report
from segpipe.inference.batch.memory import MemoryBound
from segpipe.inference.batch.results import WRITERS, write_follow_up
from segpipe.inference.batch.runner import PredictionJob, predict_scans
from segpipe.inference.batch.scans import find_scans
from segpipe.inference.follow_up.comparing import read_predicted
from segpipe.inference.options import PredictOptions
from segpipe.inference.stage_timer import StageTimer
from segpipe.io.dicom.sr import report_uids
from segpipe.preprocessing.recipe import Recipe
from segpipe.report.viewer import write_page
from tests.inference.follow_up.test_matching import body
from tests.samples.synthetic_dicom import ct_slices, save

RECIPE = Recipe("ct_nodule", (4.0, 4.0, 4.0), (-1000.0, 400.0), (16, 16, 16))
PATIENT = np.clip(body(), -1000, 200)
LPS = np.diag([4.0, 4.0, 4.0, 1.0])
EARLIER = {"grows": (slice(24, 28),) * 3, "stays": (slice(36, 40),) * 3, "goes": (slice(30, 33),) * 3}
LATER = {"grows": (slice(24, 28), slice(24, 28), slice(24, 32)), "stays": EARLIER["stays"], "new": (slice(17, 20),) * 3}


class Dense:
    """Calls everything above 330 HU a nodule."""

    name = "dense"

    def __call__(self, patches_bcxyz):
        return torch.sigmoid((patches_bcxyz - 0.95) * 100)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    (folder / "segpipe.json").write_text("{}")
    return ModelFolder(folder, RECIPE, {"name": "unet"}, (1, 1, 1), {}, {})


@pytest.fixture(scope="module")
def job(model):
    options = PredictOptions(keep_probability=False, overlap=0.0, region=None)
    return PredictionJob(model, Dense(), options, {"json": WRITERS["json"]}, None)


def scan_with(boxes, folder):
    hu = PATIENT.copy()
    for box in boxes.values():
        hu[box] = 400
    return save(ct_slices(hu, LPS), folder)


def predict(scans, job):
    bound = MemoryBound(0, base=-(10**9))
    (outcome,) = predict_scans(find_scans(scans), job, bound=bound, timer=StageTimer())
    return outcome


@pytest.fixture(scope="module")
def earlier(job, tmp_path_factory):
    folder = tmp_path_factory.mktemp("earlier")
    predict(scan_with(EARLIER, folder / "before"), replace(job, output=folder / "out"))
    return read_predicted(folder / "out" / "before.json")


@pytest.fixture(scope="module")
def compared(job, earlier, tmp_path_factory):
    """The folder of a scan that was compared with the one of 100 days before."""
    folder = tmp_path_factory.mktemp("later")
    writers = {**job.writers, "html": write_page, "dicom-sr": write_report, "follow-up": write_follow_up}
    later = replace(job, writers=writers, output=folder / "out", earlier=earlier, days=100.0)
    assert predict(scan_with(LATER, folder / "after"), later).error is None
    return folder / "out"


def test_growth_is_in_the_json(compared):
    """The first doubles, from 4 × 4 × 4 to 4 × 4 × 8 voxels of 64 mm³."""
    lesions = json.loads((compared / "after.follow_up.json").read_text())["lesions"]
    assert [(lesion["status"], lesion["change"]) for lesion in lesions] == [
        ("matched", "growth"),
        ("matched", "within error"),
        ("new", None),
        ("gone", None),
    ]
    assert lesions[0]["doubling_days"] == pytest.approx(100.0)


def test_growth_is_in_the_page(compared):
    page = (compared / "after.html").read_text().split("<script")[0]
    cells = re.findall(r"<td[^>]*>([^<]*mm³, [^<]*|new)</td>", page)
    assert cells[0].startswith("4096 → 8192 mm³, +100 % (95 % interval ")
    assert ": growth, doubling in 100 days (" in cells[0]
    assert ": within the error of measurement, doubling in " in cells[1]
    assert cells[2:] == ["new"]
    assert "Compared with the earlier scan before, 100 days before" in page
    assert "earlier finding 3 (1728 mm³): gone" in page


def test_growth_is_in_the_report(compared):
    document = highdicom.sr.srread(compared / "after.sr.dcm")
    first, second, third = document.content.get_volumetric_roi_measurement_groups()
    numbers = {m.name.value: (m.value, m.unit.value) for m in first.get_measurements()}
    assert numbers["volume_change"] == (100.0, "%")
    assert numbers["volume_change_low"][0] < 100 < numbers["volume_change_high"][0]
    assert numbers["doubling_time"] == (100.0, "d")
    assert numbers["doubling_time_fastest"][0] < 100 < numbers["doubling_time_slowest"][0]
    assert "doubling_time" not in {m.name.value for m in third.get_measurements()}
    courses = [
        next(e.value.value for e in group.get_qualitative_evaluations() if e.name.value == "course")
        for group in (first, second, third)
    ]
    assert courses == ["growth", "within_error", "129721008"]
    comments = [item.TextValue for item in document.ContentSequence if item.name == codes.DCM.Comment]
    assert comments == ["Compared with the earlier scan before, 100 days before", "earlier finding 3 (1728 mm³): gone"]


def test_a_report_with_an_earlier_scan_is_another_object_than_one_without(compared, job):
    """Readers would else have two objects with one UID that say different things."""
    (scan,) = find_scans(compared.parent / "after")
    alone = derive(scan.series, job.model, job.options.to_dict())
    report = pydicom.dcmread(compared / "after.sr.dcm")
    assert report.SOPInstanceUID not in report_uids(alone)
    options = [{}, {"earlier": "0a"}, {"earlier": "0a", "days": 50.0}, {"prompt": {"at": 3}}, {"prompt": {"at": 4}}]
    assert len({point_digest(each) for each in options}) == 5


def test_scans_that_cannot_be_aligned_cost_the_follow_up_alone(job, earlier, tmp_path):
    noise = np.random.default_rng(0).permutation(PATIENT.ravel()).reshape(PATIENT.shape)
    scan = save(ct_slices(noise, LPS), tmp_path / "other")
    writers = {**job.writers, "follow-up": write_follow_up}
    outcome = predict(scan, replace(job, writers=writers, output=tmp_path / "out", earlier=earlier))
    assert "the two scans cannot be aligned" in str(outcome.error)
    assert outcome.findings == []
    assert {file.name for file in (tmp_path / "out").glob("*.json")} == {"other.json"}
