import numpy as np
import pandas as pd
import pytest

from segpipe.case import Case
from segpipe.errors import ConfigError, ImageError
from segpipe.export.model_folder import read_model_folder
from segpipe.inference.engines.backends import build_engine
from segpipe.inference.options import PredictOptions
from segpipe.inference.predictor import predict_case
from segpipe.inference.pyfunc import INPUTS, ScanModel, _load_pyfunc, _row, output_columns
from segpipe.io.images.volumes import read_volume

pytestmark = pytest.mark.slow  # the model folder is exported to ONNX


@pytest.fixture(scope="module")
def model(untrained_model):
    return _load_pyfunc(str(untrained_model))


@pytest.fixture(scope="module")
def folder(untrained_model):
    return read_model_folder(untrained_model)


def findings_of(path, folder, at_mm=None):
    volume = read_volume(path)
    case = Case("a", volume.array, volume.grid)
    options = PredictOptions(keep_probability=False)
    return predict_case(
        case, folder.recipe, build_engine(folder), options, divisor=folder.divisor, at_mm=at_mm
    ).findings


def test_findings_are_those_of_predict(model, folder, tiny_dataset):
    paths = [tiny_dataset / "images" / f"case_{number}.nii.gz" for number in (0, 1)]
    table = model.predict(pd.DataFrame({"scan": [str(path) for path in paths]}))
    assert list(table.columns) == list(output_columns())
    for path in paths:
        expected = findings_of(path, folder)
        rows = table[table["scan"] == str(path)]
        assert expected
        assert rows["volume_mm3"].tolist() == [finding.volume_mm3 for finding in expected]
        assert rows["centre_z_mm"].tolist() == [finding.centre_mm[2] for finding in expected]
        assert rows["mean_probability"].tolist() == [finding.mean_probability for finding in expected]


def test_a_point_keeps_the_lesion_there_and_a_missing_one_all(model, folder, tiny_dataset):
    path = tiny_dataset / "images" / "case_0.nii.gz"
    point = findings_of(path, folder)[-1].centre_mm
    columns = {f"{axis}_mm": [value, float("nan")] for axis, value in zip("xyz", point, strict=True)}
    table = model.predict(pd.DataFrame({"scan": [str(path)] * 2, **columns}))
    assert len(table) == 1 + len(findings_of(path, folder))


def test_a_folder_of_scans_is_no_scan(model, tiny_dataset):
    with pytest.raises(ConfigError, match="a path must name one scan"):
        model.predict(pd.DataFrame({"scan": [str(tiny_dataset / "images")]}))


def test_a_scan_that_is_not_there_is_reported(model):
    with pytest.raises(ImageError, match="must exist"):
        model.predict(pd.DataFrame({"scan": ["nowhere.nii.gz"]}))


def test_the_backend_is_chosen_when_the_model_is_loaded(untrained_model, tiny_dataset):
    rows = pd.DataFrame({"scan": [str(tiny_dataset / "images" / "case_0.nii.gz")]})
    torch, onnx = (_load_pyfunc(str(untrained_model), {"backend": name}).predict(rows) for name in ("torch", "onnx"))
    assert torch["volume_mm3"].sum() == pytest.approx(onnx["volume_mm3"].sum(), rel=0.02)


def test_no_finding_is_a_table_without_rows(folder, tiny_dataset):
    model = ScanModel(folder)
    model._model.options = PredictOptions(threshold=0.999999, keep_probability=False)
    table = model.predict(pd.DataFrame({"scan": [str(tiny_dataset / "images" / "case_0.nii.gz")]}))
    assert len(table) == 0
    assert list(table.columns) == list(output_columns())


def test_the_columns_have_types_that_mlflow_knows():
    assert set(output_columns().values()) | set(INPUTS.values()) == {"string", "long", "double"}
    assert output_columns()["number"] == "long"
    assert output_columns()["centre_lps_x_mm"] == "double"


def test_what_a_finding_does_not_have_is_missing_in_the_type_of_its_column():
    row = _row("a.nii.gz", {"number": 1, "solid_mean_diameter_mm": None, "slice_note": None, "zone": "upper"})
    assert np.isnan(row.pop("solid_mean_diameter_mm"))
    assert row == {"scan": "a.nii.gz", "number": 1, "slice_note": "", "zone": "upper"}
    types = output_columns()
    assert (types["solid_mean_diameter_mm"], types["slice_note"], types["slice_count"]) == ("double", "string", "long")
