"""LIDC-IDRI becomes a mask per reader, a consensus, and rows of ratings."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from segpipe.datasets.sources.base import IngestRequest
from segpipe.datasets.sources.registry import SOURCES
from segpipe.errors import ConfigError, DatasetError, GeometryError
from segpipe.io.images.volumes import read_volume
from tests.samples.synthetic_dicom import ct_slices, save, thorax
from tests.samples.synthetic_lidc import message, nodule, ratings, roi, square


def _ingest(tmp_path, **options):
    given = {flag.name: flag.default for flag in SOURCES["lidc-idri"].flags} | options
    return SOURCES["lidc-idri"].read(IngestRequest(tmp_path / "data", tmp_path / "in", workers=0, options=given))


def _series(tmp_path, name, *sessions, seed=3):
    slices = ct_slices(thorax(seed=seed))
    for dataset in slices:
        dataset.PatientID = name
    save(slices, tmp_path / "in" / name)
    if sessions:
        (tmp_path / "in" / name / "069.xml").write_text(message(slices[0].SeriesInstanceUID, *sessions))
    return slices


LARGE, SHIFTED = square(4, 8), square(5, 9)


@pytest.fixture
def read_by_four(tmp_path):
    """One series; two readers mark one nodule, the second of them a tiny one too, two mark nothing."""
    first = nodule(roi(LARGE, 5.0), rated=ratings(malignancy=4, internalStructure=1))
    second = nodule(roi(SHIFTED, 5.0), rated=ratings(malignancy=2))
    return _series(tmp_path, "a", [first], [second, nodule(roi([(20, 10)], 7.5))], [], [])


def test_the_consensus_is_what_half_of_all_readers_marked(tmp_path, read_by_four):
    manifest, made = _ingest(tmp_path)

    (entry,) = manifest.entries
    expected = np.zeros((40, 36, 9), np.uint8)
    expected[6:8, 6:8, 2] = 1
    assert_array_equal(read_volume(entry.mask).array, expected)
    assert made.errors == ()
    assert manifest.labels == {1: "nodule"}


def test_another_agreement_makes_another_mask(tmp_path, read_by_four):
    _ingest(tmp_path)

    manifest, made = _ingest(tmp_path, agreement=0.25)

    assert made.new == 1
    assert read_volume(manifest.entries[0].mask).array.sum() == 9 + 9 - 4
    assert _ingest(tmp_path, agreement=0.25)[1].new == 0


def test_readers_ratings_and_tiny_nodules_are_kept(tmp_path, read_by_four):
    (entry,) = _ingest(tmp_path)[0].entries

    assert [read_volume(tmp_path / "data" / file).array.sum() for file in entry.extra["reader_masks"]] == [9, 9, 0, 0]
    volume = 9 * 0.8 * 0.7 * 2.5
    assert entry.extra["marks"] == [
        {"nodule": 1, "reader": 1, "volume_mm3": volume, "ratings": {"malignancy": 4, "internal_structure": 1}},
        {"nodule": 1, "reader": 2, "volume_mm3": volume, "ratings": {"malignancy": 2}},
    ]
    assert entry.extra["below_3mm"] == [{"reader": 2, "centre_mm": [-16.0, -7.0, 7.5]}]
    assert entry.extra["readers"] == 4
    assert entry.extra["lesions"] == 1


def test_a_series_on_which_nobody_found_anything_has_an_empty_mask(tmp_path):
    _series(tmp_path, "a", [], [], [], [])

    (entry,) = _ingest(tmp_path)[0].entries

    assert entry.extra["lesions"] == 0
    assert read_volume(entry.mask).array.sum() == 0


def test_what_lacks_its_counterpart_is_reported(tmp_path):
    _series(tmp_path, "a", [nodule(roi(LARGE, 5.0))])
    _series(tmp_path, "b", seed=5)
    (tmp_path / "in" / "cxr.xml").write_text("<IdriReadMessage/>")

    manifest, made = _ingest(tmp_path)

    assert len(manifest.entries) == 1
    assert made.notes == (
        "left out: not DICOM (2)",
        "left out: an XML file that is no reading of a CT series (1)",
        "left out: a series without reading (1)",
    )


def test_a_reading_on_slices_that_are_not_there_is_named(tmp_path):
    _series(tmp_path, "a", [nodule(roi(LARGE, 5.0))])
    _series(tmp_path, "b", [nodule(roi(LARGE, 500.0))], seed=5)

    manifest, made = _ingest(tmp_path)

    assert [entry.id for entry in manifest.entries] == ["case_0001"]
    assert isinstance(made.errors[0], GeometryError)
    assert made.errors[0].facts["case"] == "case_0002"


def test_readings_can_lie_elsewhere(tmp_path, read_by_four):
    (tmp_path / "xml").mkdir()
    (tmp_path / "in" / "a" / "069.xml").rename(tmp_path / "xml" / "069.xml")

    with pytest.raises(DatasetError, match="no reading of a LIDC series"):
        _ingest(tmp_path)
    assert len(_ingest(tmp_path, xml=tmp_path / "xml")[0].entries) == 1


@pytest.mark.parametrize("agreement", [0.0, 1.5])
def test_an_agreement_that_is_no_share_is_refused(tmp_path, read_by_four, agreement):
    with pytest.raises(ConfigError, match="share of the readers"):
        _ingest(tmp_path, agreement=agreement)
