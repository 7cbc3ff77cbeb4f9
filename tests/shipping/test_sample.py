"""The sample of real nodules: what rides in the package, and by which rule it was chosen."""

import csv

import numpy as np
import pytest

from segpipe.datasets.opening import open_dataset
from segpipe.datasets.samples import FOLDER, find_data, shipped_samples
from segpipe.io.images.volumes import read_volume
from segpipe.labels import LabelMap

OPTIONS = {"root": "lidc_sample", "table": "nodules.csv", "case_column": "nodule", "patient_column": "patient"}


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return open_dataset("nifti", OPTIONS, labels=LabelMap(), cache=tmp_path_factory.mktemp("cache"))


def test_it_is_a_data_set_of_real_nodules(manifest):
    assert (len(manifest.entries), len({entry.patient for entry in manifest.entries})) == (115, 60)
    for entry in manifest.entries[::20]:
        image, mask = read_volume(entry.image), read_volume(entry.mask)
        assert (image.array.dtype, mask.array.dtype) == (np.int16, np.uint8)
        assert image.grid.matches(mask.grid)
        assert np.unique(mask.array).tolist() == [0, 1]


def test_patients_with_whole_scans_in_tests_are_not_in_it():
    with (FOLDER / "lidc_sample" / "nodules.csv").open() as stream:
        patients = {row["patient"] for row in csv.DictReader(stream)}
    assert len(patients) == 60
    assert not patients & {"LIDC-IDRI-0001", "LIDC-IDRI-0003"}


def test_it_is_small_and_says_whose_it_is():
    folder = FOLDER / "lidc_sample"
    assert sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) <= 8 * 10**6
    text = (folder / "ATTRIBUTION.md").read_text()
    assert "creativecommons.org/licenses/by/3.0" in text
    assert "115 of 810 crops" in text


def test_a_name_that_is_no_sample_is_a_path():
    assert find_data("lidc_sample") == shipped_samples()["lidc_sample"]
    assert find_data("./lidc_sample") != shipped_samples()["lidc_sample"]


def rows(count):
    """Two nodules for each of so many patients, small and solid in one half of them."""
    kinds = [dict(zip(("diameter_mm", "texture", "malignancy"), values, strict=True)) for values in ("451", "915")]
    return [{"nodule": f"{n}_{i}", "patient": f"{n:03}", **kinds[n % 2]} for n in range(count) for i in range(2)]


def test_the_draw_most_like_all_is_taken_and_the_same_each_time(monkeypatch):
    import sample

    monkeypatch.setattr(sample, "DRAWS", 50)
    monkeypatch.setattr(sample, "LEFT_OUT", ("000",))
    chosen = sample.choose(rows(100))
    assert chosen == sample.choose(rows(100))
    assert len(chosen) == 120  # of 60 patients
    assert "000" not in {row["patient"] for row in chosen}
    assert sample.shares(chosen)["texture", "solid"] == 0.5  # as in all


@pytest.mark.slow
@pytest.mark.realdata
def test_it_is_what_the_script_makes(realdata, tmp_path, monkeypatch, capsys):
    import sample

    monkeypatch.setattr("sys.argv", ["sample.py", str(realdata / "lidc_nodules"), "--output", str(tmp_path / "made")])
    sample.main()
    assert "115 nodules of 60 patients" in capsys.readouterr().out
    shipped = FOLDER / "lidc_sample"
    names, made = (
        sorted(file.relative_to(folder) for file in folder.rglob("*") if file.is_file())
        for folder in (shipped, tmp_path / "made")
    )
    assert made == names
    assert all((shipped / name).read_bytes() == (tmp_path / "made" / name).read_bytes() for name in names)
