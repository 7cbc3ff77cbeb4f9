import pandas as pd
import pytest

from segpipe.errors import ServiceError
from segpipe.export.model_folder import read_model_folder
from segpipe.inference.pyfunc import INPUTS, REQUIRED, ScanModel, output_columns
from segpipe.tracking.mlflow import Tracker
from segpipe.tracking.registry import Signature, fetch_model, register_model
from segpipe.tracking.server import connect

pytestmark = pytest.mark.slow
SIGNATURE = Signature(INPUTS, output_columns(), REQUIRED)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("registry")


@pytest.fixture(scope="module")
def uri(home):
    return f"sqlite:///{home}/mlflow.db"


@pytest.fixture(scope="module")
def run_id(uri, home):
    facts = {"experiment": "e", "run_name": "r", "config": {"seed": 0}, "tags": {}, "folder": home / "run"}
    with Tracker.start(uri=uri, **facts) as tracker:
        return tracker.run_id


@pytest.fixture(scope="module")
def registered(uri, run_id, untrained_model):
    facts = {"uri": uri, "signature": SIGNATURE, "tags": {"data_hash": "ff00", "dice": 0.81}}
    return [register_model(run_id, "nodule", "champion", untrained_model, **facts) for _ in range(2)]


def test_the_alias_points_to_the_newest_version_and_the_first_one_stays(registered, uri, run_id):
    client = connect(uri)
    assert [model.version for model in registered] == ["1", "2"]
    version = client.get_model_version_by_alias("nodule", "champion")
    assert (str(version.version), version.run_id, version.tags) == ("2", run_id, {"data_hash": "ff00", "dice": "0.81"})
    assert client.get_model_version("nodule", "1").status == "READY"


def test_mlflow_loads_it_back_and_gets_the_findings_of_a_scan(registered, uri, untrained_model, tiny_dataset):
    import mlflow

    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)
    try:
        model = mlflow.pyfunc.load_model(registered[1].uri)
    finally:
        mlflow.set_tracking_uri(before)
    rows = pd.DataFrame({"scan": [str(tiny_dataset / "images" / "case_0.nii.gz")]})
    findings = model.predict(rows)
    assert len(findings) > 0
    pd.testing.assert_frame_equal(findings, ScanModel(read_model_folder(untrained_model)).predict(rows))


def test_a_registered_model_comes_back_as_the_same_model_folder(registered, uri, untrained_model, tmp_path):
    folder = fetch_model("nodule", "champion", tmp_path, uri=uri)
    assert (folder / "segpipe.json").read_bytes() == (untrained_model / "segpipe.json").read_bytes()
    assert read_model_folder(folder).recipe.name == "ct_nodule"


def test_nothing_is_pickled(registered, uri, tmp_path):
    folder = fetch_model("nodule", "champion", tmp_path, uri=uri)
    names = [path.name for path in folder.parents[1].rglob("*")]
    assert "MLmodel" in names
    assert not [name for name in names if name.endswith((".pkl", ".pickle", ".joblib"))]


def test_the_global_address_of_mlflow_is_as_before(registered, uri, tmp_path):
    import mlflow

    before = mlflow.get_tracking_uri()
    fetch_model("nodule", "champion", tmp_path, uri=uri)
    assert mlflow.get_tracking_uri() == before


@pytest.mark.parametrize(("name", "alias"), [("nobody", "champion"), ("nodule", "challenger")])
def test_an_unknown_model_is_told(registered, uri, tmp_path, name, alias):
    with pytest.raises(ServiceError, match="cannot be used"):
        fetch_model(name, alias, tmp_path, uri=uri)
