"""What is sent back into a study is of one patient alone."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from pydicom import dcmread

from segpipe.errors import ImageError
from segpipe.export.model_folder import read_model_folder
from segpipe.inference.batch.memory import MemoryBound
from segpipe.inference.engines.backends import build_engine
from segpipe.inference.operating_point import OperatingPointRequest, choose_point
from segpipe.inference.options import PredictOptions
from segpipe.inference.ratings.rater import Rater
from segpipe.serving.answer import Answerer
from tests.samples.small_rating_models import indifferent_model
from tests.samples.synthetic_chest import chest_series
from tests.samples.synthetic_dicom import AXIAL, ct_slices, save, thorax


def test_uids_depend_on_the_instances_that_are_answered(tmp_path):
    (tmp_path / "segpipe.json").write_text("{}")
    recipe = SimpleNamespace(scope="scan", name="r", digest="d", label_map=SimpleNamespace(classes=()))
    answerer = Answerer(SimpleNamespace(recipe=recipe, path=tmp_path), None, PredictOptions(), None)
    first, again, grown = (answerer.report_uid("1.2", "3.4", instances) for instances in ("a", "a", "b"))
    assert first == again != grown
    rating = replace(answerer, rater=Rater(indifferent_model(), "12ab"))
    assert rating.report_uid("1.2", "3.4", "a") != first
    assert rating.digest != answerer.digest


def test_a_report_has_the_ratings_of_its_findings(chest_model, tmp_path):
    model = read_model_folder(chest_model)
    engine = build_engine(model, backend="torch", device="cpu")
    options = PredictOptions.at(choose_point(model.operating_point, OperatingPointRequest()))
    rater = Rater(indifferent_model(), "12ab")
    answerer = Answerer(model, engine, options, MemoryBound.of(engine, model, None), rater)
    (tmp_path / "out").mkdir()

    slices = chest_series(1)
    *_, file = answerer.answer(save(slices, tmp_path / "in"), tmp_path / "out", instances="0")

    report, uids = dcmread(file), (slices[0].StudyInstanceUID, slices[0].SeriesInstanceUID, "0")
    assert "Predicted ratings on the scales of LIDC's readers" in report.to_json()
    assert report.SOPInstanceUID == answerer.report_uid(*uids) != replace(answerer, rater=None).report_uid(*uids)


def test_slices_of_two_patients_under_one_series_uid_are_not_answered(tmp_path):
    first, affine = ct_slices(thorax()), AXIAL.copy()
    affine[2, 3] = 9 * AXIAL[2, 2]
    second = ct_slices(thorax(seed=8), affine)
    for dataset in second:
        dataset.SeriesInstanceUID, dataset.StudyInstanceUID = first[0].SeriesInstanceUID, first[0].StudyInstanceUID
        dataset.PatientID = "OTHER"
    source = save(first + second, tmp_path / "in", names=[f"{number}" for number in range(18)])
    model = SimpleNamespace(recipe=SimpleNamespace(scope="scan"))

    with pytest.raises(ImageError, match="of several patients or studies") as caught:
        Answerer(model, None, None, None).answer(source, tmp_path / "out", instances="0")

    assert first[0].SeriesInstanceUID not in str(caught.value)
    assert "OTHER" not in str(caught.value)
