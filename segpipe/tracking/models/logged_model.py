"""The LoggedModel of a run: its model folder, opened by MLflow's own pyfunc flavour, linked to the run's figures."""

import platform
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeVar

from segpipe import __version__

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

LOADER = "segpipe.inference.pyfunc"
NAME = "model"
KIND = "segmentation"
_ENVIRONMENT = "python_env.yaml"
Answer = TypeVar("Answer")


def log_run_model(client: "MlflowClient", run_id: str, model_folder: Path, model: Mapping[str, Any]) -> str | None:
    """Uploads a model folder as the LoggedModel of its run; one that an earlier try began is completed.

    A server older than MLflow 3 knows no LoggedModels: there the folder becomes the run's artifact `model`.

    Args:
        client: The server.
        run_id: The run that made the model.
        model_folder: A verified model folder; it travels whole, and once.
        model: Plain data: `inputs` and `outputs` (column → MLflow type), `required` inputs, `params` and `tags`.

    Returns:
        The id of the LoggedModel, or None on such a server.
    """
    from mlflow.entities import LoggedModelOutput

    model_id = find_run_model(client, run_id) or _create(client, run_id, model)
    if model_id is None:
        client.log_artifacts(run_id, str(model_folder), NAME)
        return None
    with TemporaryDirectory(prefix=".segpipe-model-", dir=model_folder.parent) as folder:
        write_pyfunc(Path(folder), model_folder, model, run_id=run_id, model_id=model_id)
        client.log_model_artifacts(model_id, folder)
    client.finalize_logged_model(model_id, "READY")
    outputs = client.get_run(run_id).outputs
    if model_id not in {output.model_id for output in (outputs.model_outputs if outputs else ())}:
        client.log_outputs(run_id, [LoggedModelOutput(model_id, step=0)])
    return model_id


def find_run_model(client: "MlflowClient", run_id: str) -> str | None:
    """The id of a run's LoggedModel; None when it has none."""
    experiment = client.get_run(run_id).info.experiment_id
    wanted = f"source_run_id = '{run_id}' AND name = '{NAME}'"
    found = _unless_too_old(lambda: client.search_logged_models([experiment], filter_string=wanted))
    return next((str(model.model_id) for model in found or ()), None)


def write_pyfunc(folder: Path, model_folder: Path, model: Mapping[str, Any], *, run_id: str, model_id: str) -> None:
    """Lays out a folder as `mlflow.pyfunc.load_model` wants it; nothing is pickled, and the model is not run.

    MLflow's own `save_model` would import and run the model to guess its requirements, and importing `mlflow.pyfunc`
    takes seconds and warns, in a thread of a training.

    Args:
        folder: An empty folder.
        model_folder: The model folder, which is copied to `data/model`.
        model: See `log_run_model`.
        run_id: The run that made it.
        model_id: Its LoggedModel.
    """
    from mlflow.models import Model, ModelSignature
    from mlflow.types.schema import ColSpec, Schema

    inputs: Any = [ColSpec(kind, name, name in model["required"]) for name, kind in model["inputs"].items()]
    outputs: Any = [ColSpec(kind, name) for name, kind in model["outputs"].items()]
    shutil.copytree(model_folder, folder / "data" / NAME)
    (folder / "requirements.txt").write_text(f"segpipe=={__version__}\n")
    python = f"python: {platform.python_version()}\nbuild_dependencies: []\ndependencies:\n- -r requirements.txt\n"
    (folder / _ENVIRONMENT).write_text(python)
    described = Model(run_id=run_id, model_id=model_id, signature=ModelSignature(Schema(inputs), Schema(outputs)))
    described.add_flavor(
        "python_function",
        loader_module=LOADER,
        data=f"data/{NAME}",
        env={"virtualenv": _ENVIRONMENT},
        python_version=platform.python_version(),
    )
    described.save(str(folder / "MLmodel"))


def _create(client: "MlflowClient", run_id: str, model: Mapping[str, Any]) -> str | None:
    experiment = client.get_run(run_id).info.experiment_id
    created = _unless_too_old(
        lambda: client.create_logged_model(
            experiment,
            name=NAME,
            source_run_id=run_id,
            tags={name: str(value) for name, value in model["tags"].items() if value is not None},
            params={name: str(value) for name, value in model["params"].items()},
            model_type=KIND,
        )
    )
    return str(created.model_id) if created else None


def _unless_too_old(ask: Callable[[], Answer]) -> Answer | None:
    """What the server answers; None when it is too old for the question."""
    from mlflow.exceptions import MlflowException

    try:
        return ask()
    except MlflowException as error:
        if error.error_code != "ENDPOINT_NOT_FOUND":
            raise
        return None
