"""The model of a run in MLflow: uploaded once, linked to the run, its figures and its data."""

from types import SimpleNamespace

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import ErrorCode

from segpipe.export.model_folder import read_model_folder
from segpipe.pipelines.observers.mlflow_model import describe_model
from segpipe.tracking.mlflow import Tracker
from segpipe.tracking.models.logged_model import find_run_model, log_run_model
from segpipe.tracking.server import connect

pytestmark = pytest.mark.slow
SUMMARY = {"data_hash": "0123456789abcdef", "cases": 4, "metrics": {"dice": {"mean": 0.5, "ci95": [0.25, 0.75]}}}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("logged")


@pytest.fixture(scope="module")
def client(home, new_database):
    return connect(new_database(home))


@pytest.fixture(scope="module")
def model(untrained_model):
    return describe_model(read_model_folder(untrained_model))


@pytest.fixture(scope="module")
def run(home, client, model, untrained_model):
    facts = {"experiment": "e", "run_name": "r", "config": {"seed": 0}, "tags": {}, "folder": home / "run"}
    with Tracker.start(uri=client.tracking_uri, **facts) as tracker:
        tracker.log_dataset("phantom (test)", SUMMARY["data_hash"], source="phantom", counts={"cases": 4})
        tracker.log_model(untrained_model, model | {"tags": {"data_hash": "ff00", "unknown": None}})
        tracker.log_summary(SUMMARY, dataset="phantom (test)")
    return client.get_run(tracker.run_id)


@pytest.fixture(scope="module")
def logged(client, run):
    (found,) = client.search_logged_models([run.info.experiment_id], filter_string="name = 'model'")
    return found


def test_the_model_is_ready_and_is_an_output_of_its_run(logged, run):
    assert (logged.status, logged.source_run_id, logged.model_type) == ("READY", run.info.run_id, "segmentation")
    assert [output.model_id for output in run.outputs.model_outputs] == [logged.model_id]
    assert logged.tags["data_hash"] == "ff00"
    assert "unknown" not in logged.tags
    assert logged.params["network.name"] == "unet"
    assert logged.params["recipe.spacing_mm"] == "[1.0, 1.0, 1.5]"
    assert logged.params["operating_point.threshold"] == "0.5"


def test_the_figures_of_the_evaluation_are_those_of_the_model_on_the_data_set(logged, run):
    found = {metric.key: metric for metric in logged.metrics}
    dice = found["evaluation/dice"]
    assert (dice.value, dice.dataset_name, dice.dataset_digest) == (0.5, "phantom (test)", SUMMARY["data_hash"])
    assert dice.run_id == run.info.run_id
    (data,) = run.inputs.dataset_inputs
    assert (data.dataset.name, data.dataset.digest) == (dice.dataset_name, dice.dataset_digest)
    assert found["evaluation_details/dice_ci95_low"].value == 0.25
    assert run.data.metrics["evaluation/dice"] == 0.5


def test_the_weights_lie_there_once(client, run, home, logged):
    assert len(list(home.rglob("model.safetensors"))) == 1
    files = {file.path for file in client.list_logged_model_artifacts(logged.model_id)}
    assert files == {"MLmodel", "data", "python_env.yaml", "requirements.txt"}
    assert not list((home / "run").rglob("MLmodel"))


def test_a_second_try_completes_the_same_model(client, run, logged, model, untrained_model):
    assert log_run_model(client, run.info.run_id, untrained_model, model) == logged.model_id
    assert find_run_model(client, run.info.run_id) == logged.model_id
    again = client.get_run(run.info.run_id).outputs.model_outputs
    assert len(again) == 1


def test_figures_of_a_run_without_a_model_are_figures_of_the_run(client, home):
    facts = {"experiment": "e", "run_name": "bare", "config": {}, "tags": {}, "folder": home / "bare"}
    with Tracker.start(uri=client.tracking_uri, **facts) as tracker:
        tracker.log_summary(SUMMARY)
    assert find_run_model(client, tracker.run_id) is None
    assert client.get_run(tracker.run_id).data.metrics["evaluation/dice"] == 0.5


class OldServer:
    """A client of a server before MLflow 3, which answers every question about LoggedModels with 404."""

    def __init__(self):
        self.artifacts = []

    def get_run(self, run_id):
        return SimpleNamespace(info=SimpleNamespace(experiment_id="1"))

    def log_artifacts(self, run_id, folder, name):
        self.artifacts.append((run_id, folder, name))

    def search_logged_models(self, *words, **named):
        raise MlflowException("404", error_code=ErrorCode.Value("ENDPOINT_NOT_FOUND"))

    create_logged_model = search_logged_models


def test_an_old_server_keeps_the_model_as_an_artifact(model, untrained_model):
    server = OldServer()
    assert log_run_model(server, "r", untrained_model, model) is None
    assert server.artifacts == [("r", str(untrained_model), "model")]
    assert find_run_model(server, "r") is None
