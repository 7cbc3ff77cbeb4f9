import pandas as pd
import pytest

from segpipe.errors import ServiceError
from segpipe.export.model_folder import read_model_folder
from segpipe.inference.pyfunc import ScanModel
from segpipe.pipelines.observers.mlflow_model import describe_model
from segpipe.tracking.mlflow import Tracker
from segpipe.tracking.models.registry import fetch_model, has_model, log_model, register_model
from segpipe.tracking.server import connect

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("registry")


@pytest.fixture(scope="module")
def uri(home, new_database):
    return new_database(home)


@pytest.fixture(scope="module")
def run_id(uri, home):
    facts = {"experiment": "e", "run_name": "r", "config": {"seed": 0}, "tags": {}, "folder": home / "run"}
    with Tracker.start(uri=uri, **facts) as tracker:
        return tracker.run_id


@pytest.fixture(scope="module")
def registered(uri, run_id, untrained_model):
    assert not has_model(run_id, uri=uri)
    model = {**describe_model(read_model_folder(untrained_model)), "tags": {"data_hash": "ff00", "dice": 0.81}}
    log_model(run_id, untrained_model, model, uri=uri)
    return [register_model(run_id, "nodule", "champion", uri=uri) for _ in range(2)]


def test_the_alias_points_to_the_newest_version_and_the_first_one_stays(registered, uri, run_id):
    client = connect(uri)
    assert [model.version for model in registered] == ["1", "2"]
    version = client.get_model_version_by_alias("nodule", "champion")
    assert (str(version.version), version.run_id) == ("2", run_id)
    assert version.tags == {"data_hash": "ff00", "dice": "0.81"}
    assert client.get_model_version("nodule", "1").status == "READY"


@pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning")  # of MLflow's own types
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


def test_registering_uploads_nothing(registered, uri, run_id, home):
    client = connect(uri)
    (model,) = client.search_logged_models([client.get_run(run_id).info.experiment_id])
    assert [client.get_model_version("nodule", n).source for n in "12"] == [f"models:/{model.model_id}"] * 2
    assert len(list(home.rglob("model.safetensors"))) == 1


def test_a_registered_model_of_another_kind_is_refused(uri, home, untrained_model, tmp_path):
    facts = {"experiment": "e", "run_name": "odd", "config": {}, "tags": {}, "folder": home / "odd"}
    with Tracker.start(uri=uri, **facts) as tracker:
        pass
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "note.txt").write_text("no model")
    log_model(tracker.run_id, tmp_path / "odd", describe_model(read_model_folder(untrained_model)), uri=uri)
    register_model(tracker.run_id, "odd", "champion", uri=uri)
    with pytest.raises(ServiceError, match="holds no model folder"):
        fetch_model("odd", "champion", tmp_path / "fetched", uri=uri)


def test_a_run_without_a_model_cannot_be_registered(uri, home):
    facts = {"experiment": "e", "run_name": "bare", "config": {}, "tags": {}, "folder": home / "bare"}
    with Tracker.start(uri=uri, **facts) as tracker:
        pass
    with pytest.raises(ServiceError, match="the run has no model"):
        register_model(tracker.run_id, "nodule", "champion", uri=uri)


@pytest.mark.parametrize(("name", "alias"), [("nobody", "champion"), ("nodule", "challenger")])
def test_an_unknown_model_is_reported(registered, uri, tmp_path, name, alias):
    with pytest.raises(ServiceError, match="cannot be used"):
        fetch_model(name, alias, tmp_path, uri=uri)
