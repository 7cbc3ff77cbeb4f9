"""Models that ride in the package: found by name, whole, small, and the same whatever runs them."""

from pathlib import Path

import numpy as np
import pytest

from segpipe import load_model
from segpipe.__main__ import main
from segpipe.case import Case
from segpipe.datasets.loading import load_lesions
from segpipe.datasets.samples import find_data
from segpipe.datasets.sources.folders import find_cases
from segpipe.errors import ModelError
from segpipe.export import shipped
from segpipe.export.model_folder import read_model_folder
from segpipe.export.shipped import SCAN_MODEL, find_model, shipped_models
from segpipe.geometry import Grid, to_voxel, to_world
from segpipe.inference.findings import ClassComponents, measure_findings
from segpipe.inference.predictor import predict_case
from segpipe.inference.ratings.rater import Rater
from segpipe.io.dicom.series.series import find_series, read_series
from segpipe.labels import NODULE, LabelMap
from segpipe.lesions import find_components, measure_components

ENTRIES = find_cases(find_data("lidc_sample")).entries
LARGEST_MB, LARGEST_TOGETHER_MB = 10, 20
NODULE_MM = (-56.4, -86.3, -116.0)
RATING = [name for name in shipped_models() if name.endswith("-ratings")]
SEARCHING = [name for name in shipped_models() if name == SCAN_MODEL]
SEGMENTING = [name for name in shipped_models() if name not in (*RATING, *SEARCHING)]


@pytest.fixture
def two_models(tmp_path, monkeypatch) -> Path:
    for name in ("lidc-voi", "lidc-scan"):
        (tmp_path / "models" / name).mkdir(parents=True)
    (tmp_path / "models" / "README.md").touch()
    monkeypatch.setattr(shipped, "FOLDER", tmp_path / "models")
    return tmp_path / "models"


def test_a_name_is_a_folder_of_the_package_and_a_path_stays_one(two_models, tmp_path, monkeypatch):
    assert shipped_models() == {name: two_models / name for name in ("lidc-scan", "lidc-voi")}
    monkeypatch.chdir(tmp_path)
    Path("lidc-voi").mkdir()
    assert find_model("lidc-voi") == two_models / "lidc-voi"
    assert find_model("./lidc-voi").resolve() == tmp_path / "lidc-voi"
    assert find_model(Path("lidc-voi")).resolve() == tmp_path / "lidc-voi"


def test_a_model_that_is_not_there_is_answered_with_those_that_are(two_models):
    with pytest.raises(ModelError, match=r"no such model; did you mean lidc-voi\?") as caught:
        read_model_folder(find_model("lidc-vio"))
    assert caught.value.facts == {"model": Path("lidc-vio"), "shipped": "lidc-scan, lidc-voi"}


def test_a_package_without_models_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(shipped, "FOLDER", tmp_path / "models")
    assert shipped_models() == {}
    with pytest.raises(ModelError, match="there is no such model") as caught:
        read_model_folder(find_model("lidc-voi"))
    assert caught.value.facts["shipped"] == "none"


def test_what_ships_is_small_enough_for_the_package():
    sizes = [
        sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) for folder in shipped_models().values()
    ]
    assert max(sizes) <= LARGEST_MB * 10**6
    assert sum(sizes) <= LARGEST_TOGETHER_MB * 10**6


def test_what_ships_says_nothing_of_the_machine_that_made_it():
    files = [file for file in shipped.FOLDER.rglob("*") if file.is_file()]
    here = str(shipped.FOLDER.parents[1]).encode()
    assert [file for file in files if here in file.read_bytes()] == []
    assert [file for file in files if file.suffix == ".onnx" and b".py" in file.read_bytes()] == []


@pytest.mark.parametrize("name", SEGMENTING)
def test_a_shipped_model_is_whole_and_says_whose_data_it_learnt_from(name):
    model = read_model_folder(find_model(name))
    assert model.recipe.scope == "voi"
    assert "creativecommons.org/licenses/by/3.0" in (model.path / "ATTRIBUTION.md").read_text()
    assert "| every nodule once |" in (model.path / "docs" / "README.md").read_text()


@pytest.mark.skipif("lidc-voi" not in SEGMENTING, reason="it does not ride in this package")
def test_a_nodule_is_measured_without_training_and_model(tmp_path, capsys):
    case = load_lesions(ENTRIES[2], {1: "nodule"})
    (lesion,) = measure_components(find_components(case.mask), case.grid)
    at = ",".join(map(str, lesion.centre_mm))
    words = ["predict", "--input", str(ENTRIES[2].image), f"--at={at}", "--output", str(tmp_path), "--device", "cpu"]
    assert main(words) == 0
    assert "1 finding" in capsys.readouterr().out


@pytest.mark.parametrize(("backend", "count"), [("torch", 6), ("onnx", 3)])
@pytest.mark.parametrize("name", SEGMENTING)
def test_a_shipped_model_measures_real_nodules(name, backend, count):
    model = load_model(name, backend=backend, device="cpu")
    dice = [measured_dice(model, load_lesions(entry, {1: "nodule"})) for entry in ENTRIES[:count]]
    assert np.mean(dice) > 0.75
    assert min(dice) > 0.5


def measured_dice(model, case):
    """Of the nodule at the middle of the readers' one."""
    (lesion,) = measure_components(find_components(case.mask), case.grid)
    recipe, divisor = model.folder.recipe, model.folder.divisor
    found = predict_case(case, recipe, model.engine, model.options, divisor=divisor, at_mm=lesion.centre_mm)
    masks = found.mask > 0, case.mask > 0
    assert len(found.findings) == 1
    return 2 * np.count_nonzero(masks[0] & masks[1]) / sum(map(np.count_nonzero, masks))


@pytest.mark.parametrize("name", RATING)
def test_a_shipped_rating_model_finds_the_largest_nodule_more_suspicious_than_the_smallest(name):
    rater = Rater.open(find_model(name))
    assert "creativecommons.org/licenses/by/3.0" in (find_model(name) / "ATTRIBUTION.md").read_text()
    by_size = sorted((rated(rater, entry) for entry in ENTRIES[:20]), key=lambda finding: finding.volume_mm3)
    smallest, largest = by_size[0], by_size[-1]
    assert smallest.ratings["malignancy"].grade < 3 < largest.ratings["malignancy"].grade
    assert set(largest.ratings) == {
        "malignancy", "spiculation", "lobulation", "margin", "texture", "calcification"
    }  # fmt: skip


def rated(rater, entry):
    case = load_lesions(entry, {1: "nodule"})
    components = find_components(case.mask)
    found = ClassComponents(NODULE, components, [1], [(1.0, 1.0)] * components.count)
    return rater.rate(case, case.mask, measure_findings(case, [found]), LabelMap.of("nodule"))[0]


@pytest.mark.parametrize("name", SEARCHING)
def test_a_shipped_detector_is_whole_and_says_what_it_found_in_real_scans(name):
    model = read_model_folder(find_model(name))
    assert model.recipe.scope == "scan"
    assert "Attribution" in (model.path / "ATTRIBUTION.md").read_text()
    assert "6 mm and more" in (model.path / "docs" / "README.md").read_text()


@pytest.mark.slow
@pytest.mark.realdata
@pytest.mark.parametrize("name", SEARCHING)
def test_a_shipped_detector_finds_the_nodule_of_a_scan_and_nothing_else(name, realdata):
    """LIDC-IDRI-0001 has one nodule that three readers or more have marked, of 27 mm; here are 5 cm around it."""
    scan = read_series(find_series(realdata / "lidc_idri" / "LIDC-IDRI-0001").series[0])
    middle = round(to_voxel(scan.grid.affine, NODULE_MM)[2])
    slab = slice(middle - 10, middle + 10)
    affine = scan.grid.affine.copy()
    affine[:3, 3] = to_world(affine, (0, 0, slab.start))
    image = scan.array[:, :, slab]
    model = load_model(name, device="cpu")
    case, recipe = Case("slab", image, Grid(image.shape, affine)), model.folder.recipe
    (found,) = predict_case(case, recipe, model.engine, model.options, divisor=model.folder.divisor).findings
    assert np.linalg.norm(np.subtract(found.centre_mm, NODULE_MM)) < 5
    assert 6000 < found.volume_mm3 < 10000
