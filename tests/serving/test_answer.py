"""What is sent back into a study is of one patient alone."""

from types import SimpleNamespace

import pytest

from segpipe.errors import ImageError
from segpipe.inference.options import PredictOptions
from segpipe.serving.answer import Answerer
from tests.samples.synthetic_dicom import AXIAL, ct_slices, save, thorax


def test_uids_depend_on_the_instances_that_are_answered(tmp_path):
    (tmp_path / "segpipe.json").write_text("{}")
    recipe = SimpleNamespace(scope="scan", name="r", digest="d", label_map=SimpleNamespace(classes=()))
    answerer = Answerer(SimpleNamespace(recipe=recipe, path=tmp_path), None, PredictOptions(), None)
    first, again, grown = (answerer.report_uid("1.2", "3.4", instances) for instances in ("a", "a", "b"))
    assert first == again != grown


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
