"""`segpipe drift` from the command line: scans like the stored ones, others, and models that know of none."""

import json
from dataclasses import replace
from operator import attrgetter
from pathlib import Path

import numpy as np
import pytest

from segpipe.__main__ import main
from segpipe.corruptions import corrupt
from segpipe.datasets.loading import load_case
from segpipe.datasets.manifest import read_manifest, write_manifest
from segpipe.datasets.samples import find_data
from segpipe.datasets.sources.folders import find_cases
from segpipe.evaluation.drift.comparing import find_shifts
from segpipe.evaluation.drift.fingerprint import fingerprint_of
from segpipe.evaluation.evaluated_cases import evaluate_each, sort_outcomes
from segpipe.evaluation.results import CaseResult
from segpipe.export.model_folder import load_network
from segpipe.inference.engines.engine import TorchEngine
from segpipe.io.images.volumes import read_volume, write_volume
from segpipe.pipelines.drift.checking import ScanMeter, _evaluator
from segpipe.preprocessing.scan_profile import profile_scan
from tests.samples.small_models import FACTS, UNET, without_onnx_export, write_small
from tests.samples.synthetic_lungs import lungs

COLUMNS = {"table": None, "case_column": "case", "patient_column": "patient"}


@pytest.fixture(scope="module")
def data(tmp_path_factory, tiny_dataset) -> Path:
    """The tiny scans as a data set without masks."""
    folder = tmp_path_factory.mktemp("data")
    manifest = find_cases(tiny_dataset, **COLUMNS)
    write_manifest(manifest.with_entries([replace(entry, mask=None) for entry in manifest.entries]), folder)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory, data) -> Path:
    """A model folder that knows the tiny scans."""
    folder = tmp_path_factory.mktemp("model")
    with without_onnx_export():
        bare = write_small(folder / "bare", UNET)
        manifest = read_manifest(data)
        meter = ScanMeter(_evaluator(bare, TorchEngine(load_network(bare)), manifest.labels))
        known = sort_outcomes(evaluate_each(meter, manifest.entries, name=attrgetter("id"))).results
        write_small(folder / "model", UNET, about={**FACTS, "fingerprint": fingerprint_of(known)})
    return folder / "model"


def copied(data: Path, folder: Path, change) -> Path:
    """The data set with changed scans."""
    manifest = read_manifest(data)
    entries = []
    for entry in manifest.entries:
        scan = read_volume(entry.image)
        file = folder / "images" / f"{entry.id}.nii.gz"
        write_volume(file, change(scan.array), scan.grid)
        entries.append(replace(entry, image=file))
    write_manifest(manifest.with_entries(entries), folder)
    return folder


def check(model: Path, data: Path, output: Path, *more: str) -> int:
    return main(["drift", str(model), str(data), "--output", str(output), "--device", "cpu", *more])


def test_scans_like_those_that_are_known_are_no_drift(model, data, tmp_path, capsys):
    assert check(model, data, tmp_path) == 0
    report = json.loads((tmp_path / "drift.json").read_text())
    assert report["scans"] == {"stored": 10, "new": 10, "failed": 0}
    assert (report["drift"], report["drifted"]) == (False, [])
    assert {"noise_hu", "tissue_hu", "findings", "found_mm3"} <= {shift["quantity"] for shift in report["shifts"]}
    assert report["stored"] == report["new"]
    text = capsys.readouterr().out
    assert "10 scans of " in text
    assert "next to 10 that the model was evaluated on (phantom)" in text
    assert "no drift was found; so many scans show effects from about 0." in text


def test_noisier_and_denser_scans_are_drift_and_sizes_are_not(model, data, tmp_path, capsys):
    rng = np.random.default_rng(0)

    def worse(image):
        return np.rint(image + 60 + rng.normal(0, 80, image.shape)).astype(np.int16)

    other = copied(data, tmp_path / "other", worse)
    assert check(model, other, tmp_path / "out") == 1
    report = json.loads((tmp_path / "out" / "drift.json").read_text())
    assert {"noise_hu", "tissue_hu"} <= set(report["drifted"])
    assert not {"pixel_mm", "slice_mm", "width_mm"} & set(report["drifted"])
    assert f"drift in {len(report['drifted'])} of {len(report['shifts'])} quantities" in capsys.readouterr().out
    page = (tmp_path / "out" / "report.html").read_text()
    assert "noise in tissue, HU ✱" in page
    assert "case_" not in page  # no scan is named


def test_a_scan_that_cannot_be_read_is_named_and_the_others_are_compared(model, data, tmp_path, capsys):
    manifest = read_manifest(data)
    broken = replace(manifest.entries[0], image=tmp_path / "none.nii.gz")
    write_manifest(manifest.with_entries([broken, *manifest.entries[1:]]), tmp_path / "data")
    assert check(model, tmp_path / "data", tmp_path / "out") == 2
    assert json.loads((tmp_path / "out" / "drift.json").read_text())["scans"] == {"stored": 10, "new": 9, "failed": 1}
    assert manifest.entries[0].id in capsys.readouterr().err


def test_a_model_that_knows_no_scans_says_so(untrained_model, data, tmp_path, capsys):
    assert check(untrained_model, data, tmp_path) == 2
    text = capsys.readouterr().err
    assert "the model folder has no fingerprint of the scans that it was evaluated on" in text
    assert "a training or cross-validation with three held-out scans or more writes one" in text


def test_too_few_scans_are_refused(model, data, tmp_path, capsys):
    assert check(model, data, tmp_path, "--most", "2") == 2
    assert "drift is a matter of 3 scans or more" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [(["--most", "0"], "--most must be at least 1"), (["--level", "1"], "--level must lie between 0 and 1")],
)
def test_wrong_flags_are_refused(model, data, tmp_path, capsys, words, message):
    assert check(model, data, tmp_path, *words) == 2
    assert message in capsys.readouterr().err


def profiles(cases) -> dict[str, list[float]]:
    results = [CaseResult(case.id, case.id, "no", {}, 0.0, 0.0, scan=profile_scan(case)) for case in cases]
    return fingerprint_of(results)["values"]


def drifted(stored, new) -> set[str]:
    return {shift.quantity for shift in find_shifts(profiles(stored), profiles(new)) if shift.drifted}


def test_corrupted_chests_drift_by_what_was_done_to_them():
    stored, new = ([lungs(10 * part + seed, sd=10.0 + seed) for seed in range(8)] for part in (1, 2))
    assert drifted(stored, new) == set()
    noisy = drifted(stored, [corrupt(case, "low_dose", 5, seed=0) for case in new])
    assert "noise_hu" in noisy
    assert not noisy & {"pixel_mm", "slice_mm", "width_mm"}
    assert "noise_hu" in drifted(stored, [corrupt(case, "thick_slices", 5, seed=0) for case in new])
    assert "tissue_high_hu" in drifted(stored, [corrupt(case, "contrast", 5, seed=0) for case in new])
    assert "slice_mm" in drifted(stored, [lungs(seed, sd=10.0 + seed, spacing=(2.5, 2.5, 5.0)) for seed in range(8)])


@pytest.mark.slow
def test_the_model_that_ships_knows_what_crops_of_nodules_are_like(tmp_path):
    columns = {"table": "nodules.csv", "case_column": "nodule", "patient_column": "patient"}
    sample = find_cases(find_data("lidc_sample"), **columns)
    first = {entry.patient: entry for entry in reversed(sample.entries)}
    write_manifest(sample.with_entries(list(first.values())[:6]), tmp_path / "data")
    assert check("lidc-voi", tmp_path / "data", tmp_path / "out") == 0
    report = json.loads((tmp_path / "out" / "drift.json").read_text())
    assert report["scans"] == {"stored": 810, "new": 6, "failed": 0}
    rng = np.random.default_rng(0)
    noisy = copied(tmp_path / "data", tmp_path / "noisy", lambda image: image + rng.normal(0, 80, image.shape))
    assert check("lidc-voi", noisy, tmp_path / "out") == 1
    assert "noise_hu" in json.loads((tmp_path / "out" / "drift.json").read_text())["drifted"]


@pytest.mark.realdata
def test_real_nodules_of_other_patients_are_alike_and_at_a_low_dose_they_are_not(realdata):
    columns = {"table": "nodules.csv", "case_column": "nodule", "patient_column": "patient"}
    manifest = find_cases(realdata / "lidc_nodules", **columns)
    first = {}
    for entry in manifest.entries:
        first.setdefault(entry.patient, entry)
    cases = [load_case(entry, manifest.labels) for entry in list(first.values())[:60]]
    known, new = cases[::2], cases[1::2]
    assert drifted(known, new) == set()
    assert "noise_hu" in drifted(known, [corrupt(case, "low_dose", 5, seed=0) for case in new])
