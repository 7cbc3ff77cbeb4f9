"""The installed wheel works in an empty folder: configurations travel with it, and users add their own."""

import csv
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from segpipe.export.shipped import VOI_MODEL, shipped_models
from segpipe.io.images.volumes import read_volume
from segpipe.lesions import find_components, measure_components
from tests.support.processes import segpipe

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
MINE = """# @package _global_
# A user's own experiment.
defaults:
  - /experiment/lung_nodule
  - _self_
name: mine
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder / "dist")]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = (folder / "dist").glob("*.whl")
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target"]
    subprocess.run([*install, str(folder / "site"), str(wheel)], check=True, capture_output=True)
    return folder / "site"


def test_it_is_the_wheel_that_runs(installed, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    asked = {"cwd": tmp_path, "env": environment, "capture_output": True, "text": True, "check": True}
    where = [sys.executable, "-c", "import segpipe; print(segpipe.__file__)"]
    assert Path(subprocess.run(where, **asked).stdout.strip()).is_relative_to(installed)
    assert "lung_nodule_voi" in subprocess.run([sys.executable, "-m", "segpipe", "--help"], **asked).stdout


def take(site: Path) -> None:
    """From here on this process, which has imported segpipe, finds it below `site`."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "segpipe"]:
        del sys.modules[name]
    sys.path.insert(0, str(site))
    import segpipe

    assert Path(segpipe.__file__).is_relative_to(site)


def test_configurations_travel_with_it(installed, tmp_path):
    words = ["+experiment=lung_tumour", "data=nifti", "data.root=x", "--cfg", "job"]
    assert "name: ct_tumour" in segpipe(*words, cwd=tmp_path, before=partial(take, installed))


def test_the_sample_travels_with_it(installed):
    (table,) = installed.rglob("lidc_sample/nodules.csv")
    assert {folder.name for folder in table.parent.iterdir()} == {"ATTRIBUTION.md", "images", "masks", "nodules.csv"}
    assert len(list((table.parent / "images").iterdir())) == len(table.read_text().splitlines()) - 1


def test_users_add_experiments(installed, tmp_path):
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    (tmp_path / "conf" / "experiment" / "mine.yaml").write_text(MINE)
    words = ["--config-dir", "conf", "+experiment=mine", "--cfg", "job"]
    assert "name: mine" in segpipe(*words, cwd=tmp_path, before=partial(take, installed))


def test_predict_needs_a_model_folder_and_a_scan_only(installed, tmp_path, untrained_model, tiny_dataset):
    scan = tiny_dataset / "images" / "case_0.nii.gz"
    words = ["--model", untrained_model, "--input", scan, "--output", "out", "--device", "cpu"]
    segpipe("predict", *words, cwd=tmp_path, before=partial(take, installed))
    assert {"case_0.nii.gz", "findings.csv"} <= {file.name for file in (tmp_path / "out").iterdir()}


@pytest.mark.parametrize("name", [name for name in shipped_models() if name == VOI_MODEL])
def test_a_nodule_is_measured_without_training_or_download(installed, tmp_path, name):
    assert (installed / "segpipe" / "models" / name / "ATTRIBUTION.md").is_file()
    (scan,) = (installed / "segpipe" / "samples" / "lidc_sample" / "images").glob("LIDC-IDRI-0294_R_2.nii.gz")
    mask = read_volume(scan.parents[1] / "masks" / scan.name)
    lesion = measure_components(find_components(mask.array), mask.grid)[0]
    point = ",".join(f"{mm:.1f}" for mm in lesion.centre_mm)
    words = ["--input", scan, "--at", point, "--output", "out", "--device", "cpu"]
    segpipe("predict", *words, cwd=tmp_path, before=partial(take, installed))
    with (tmp_path / "out" / "findings.csv").open() as stream:
        (finding,) = csv.DictReader(stream)
    assert float(finding["volume_mm3"]) == pytest.approx(lesion.volume_mm3, rel=0.2)
