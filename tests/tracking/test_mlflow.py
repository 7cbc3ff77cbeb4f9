import json
import logging
from pathlib import Path

import pytest

from segpipe.errors import ServiceError
from segpipe.tracking.identity import read_run_id
from segpipe.tracking.mlflow import Tracker
from segpipe.tracking.server import connect
from segpipe.tracking.trackers import TRACKERS, RunToTrack, build_tracker

pytestmark = pytest.mark.slow
CONFIG = {"network": {"name": "unet"}, "steps": {f"s{number}": number for number in range(350)}, "long": "x" * 7000}


@pytest.fixture(scope="module")
def uri(tmp_path_factory, new_database):
    return new_database(tmp_path_factory.mktemp("mlflow"))


@pytest.fixture(scope="module")
def client(uri):
    return connect(uri)


@pytest.fixture
def start(uri, tmp_path):
    def begin(**changes):
        facts = {"uri": uri, "experiment": "lung nodule", "run_name": "first", "config": CONFIG, "tags": {}}
        return Tracker.start(**{**facts, "folder": tmp_path, **changes})

    return begin


def artifacts(client, run_id, folder=None):
    return sorted(item.path for item in client.list_artifacts(run_id, folder))


def read(client, run_id, path, tmp_path):
    return Path(client.download_artifacts(run_id, path, str(tmp_path))).read_text()


def test_a_run_logs_all_that_it_did(start, client, tmp_path, caplog):
    with start(tags={"git_commit": "abc123", "recipe_digest": "ff00", "nothing": None}) as tracker:
        for step in range(5):
            tracker.log_metrics({"train/loss": 1 / (step + 1), "odd(name)": 1}, step)
        tracker.log_summary({"cases": 4, "metrics": {"dice": {"mean": 0.5, "ci95": [0.25, 0.75]}}})
        tracker.log_table([{"case": "a", "dice": 0.5}], "evaluation/cases")
        tracker.log_dataset("phantom", "0123456789abcdef", source="phantom", counts={"cases": 4})
        (tmp_path / "model").mkdir()
        (tmp_path / "model" / "segpipe.json").write_text("{}")
        tracker.log_folder(tmp_path / "model", "model")
        tracker.log_file(tmp_path / "model" / "segpipe.json", "checkpoints")
        tracker.describe("**four phantoms**")
    run = client.get_run(tracker.run_id)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "first"
    assert len(run.data.params) == 352
    assert run.data.params["steps.s349"] == "349"
    assert run.data.params["long"] == "7000 characters, see config.yaml"
    assert "long is too long for an MLflow parameter" in caplog.text
    assert "x" * 7000 in read(client, tracker.run_id, "config.yaml", tmp_path)
    history = client.get_metric_history(tracker.run_id, "train/loss")
    assert [(point.step, point.value) for point in history] == [(0, 1.0), (1, 0.5), (2, 1 / 3), (3, 0.25), (4, 0.2)]
    assert run.data.metrics["odd_name_"] == 1
    assert run.data.metrics["evaluation_details/dice_ci95_high"] == 0.75
    assert run.data.tags["mlflow.source.git.commit"] == run.data.tags["git_commit"] == "abc123"
    assert "nothing" not in run.data.tags
    assert run.data.tags["mlflow.note.content"] == "**four phantoms**"
    assert json.loads(run.data.tags["mlflow.loggedArtifacts"]) == [{"path": "evaluation/cases.json", "type": "table"}]
    assert artifacts(client, tracker.run_id) == ["checkpoints", "config.yaml", "evaluation", "model"]
    data = run.inputs.dataset_inputs[0]
    assert (data.dataset.name, data.dataset.digest, data.tags[0].value) == ("phantom", "0123456789abcdef", "training")


def test_mlflow_reads_the_tables_back(start, client):
    import mlflow

    with start() as tracker:
        tracker.log_table([{"case": "a", "dice": 0.5}, {"case": "b", "dice": None}], "evaluation/cases.json")
        tracker.log_table([{"case": "a", "dice": 0.75}], "evaluation/cases.json")
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(client.tracking_uri)
    try:
        number = client.get_run(tracker.run_id).info.experiment_id
        table = client.load_table(number, "evaluation/cases.json", run_ids=[tracker.run_id])
    finally:
        mlflow.set_tracking_uri(before)
    assert table.to_dict("records") == [{"case": "a", "dice": 0.75}]


def test_a_run_goes_on_under_its_own_id_and_logs_what_changed(start, client, tmp_path):
    tracker = start()
    tracker.log_metrics({"train/loss": 1.0}, 0)
    with pytest.raises(RuntimeError, match="power cut"), tracker:
        raise RuntimeError("power cut")
    assert client.get_run(tracker.run_id).info.status == "FAILED"
    assert read_run_id(tmp_path) == tracker.run_id
    changed = {**CONFIG, "network": {"name": "dynunet"}, "new": 1}
    with start(config=changed, run_id=read_run_id(tmp_path)) as resumed:
        assert client.get_run(tracker.run_id).info.status == "RUNNING"
        resumed.log_metrics({"train/loss": 0.5}, 1)
    run = client.get_run(tracker.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params["network.name"] == "unet"
    assert run.data.tags["resumed.network.name"] == "dynunet"
    assert run.data.params["new"] == "1"
    assert len(client.get_metric_history(tracker.run_id, "train/loss")) == 2


def test_an_interrupted_run_is_marked_killed(start, client):
    with pytest.raises(KeyboardInterrupt), start() as tracker:
        raise KeyboardInterrupt
    assert client.get_run(tracker.run_id).info.status == "KILLED"


def test_a_run_that_the_server_does_not_know_cannot_be_continued(start):
    with pytest.raises(ServiceError, match="cannot be used") as caught:
        start(run_id="0" * 32)
    assert "not found" in caught.value.facts["found"]


def test_a_deleted_experiment_is_reported_with_the_way_back(start, client):
    number = client.create_experiment("gone")
    client.delete_experiment(number)
    with pytest.raises(ServiceError, match="has been deleted") as caught:
        start(experiment="gone")
    assert f"mlflow experiments restore --experiment-id {number}" in caught.value.hint


def test_what_mlflow_refuses_is_named_and_the_rest_arrives(start, client, caplog):
    with start() as tracker:
        tracker.log_file(Path("/nowhere/at/all.ckpt"), "checkpoints")
        tracker.log_text("hello", "note.txt")
    assert "MLflow did not take all.ckpt" in caplog.text
    assert set(artifacts(client, tracker.run_id)) >= {"config.yaml", "note.txt"}


def test_artifacts_lie_in_mlartifacts_next_to_the_database(start, uri):
    with start() as tracker:
        tracker.log_text("hello", "note.txt")
    folder = Path(uri.removeprefix("sqlite:///")).parent / "mlartifacts" / "lung_nodule"
    assert (folder / tracker.run_id / "artifacts" / "note.txt").read_text() == "hello"


def test_the_configuration_chooses_the_tracker(uri, client, tmp_path):
    run = RunToTrack(tmp_path / "2025-01-01_10-00-00", {"seed": 0}, {"segpipe_version": "1"})
    run.folder.mkdir()
    assert build_tracker({"name": "none"}, run) is None
    section = {"name": "mlflow", "uri": uri, "experiment": "e", "run_name": None, "system_metrics": True}
    tracker = build_tracker(section, run)
    assert tracker is not None
    tracker.finish()
    found = client.get_run(tracker.run_id)
    assert found.info.run_name == "2025-01-01_10-00-00"
    assert found.data.metrics["system/system_memory_usage_percentage"] > 0
    assert set(TRACKERS) == {"mlflow", "none"}


def test_a_child_names_its_parent(start, client):
    with start(run_name="all folds") as parent, start(run_name="fold 0", parent=parent.run_id) as child:
        pass
    assert client.get_run(child.run_id).data.tags["mlflow.parentRunId"] == parent.run_id


def test_a_database_is_shown_by_a_command(start, uri):
    with start() as tracker:
        assert tracker.run_url.startswith(f"mlflow ui --backend-store-uri {uri}")
        assert tracker.run_id in tracker.run_url


@pytest.fixture(autouse=True)
def quiet_alembic():
    logging.getLogger("alembic").setLevel(logging.WARNING)
