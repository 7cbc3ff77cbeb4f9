"""A model folder as MLflow describes it: the tables it takes and gives, what it was made with, and of what data."""

from typing import Any

from segpipe.export.model_folder import ModelFolder
from segpipe.tracking.parameters import flatten

_TAGS = ("experiment", "data", "data_hash", "recipe_digest", "segpipe_version", "git_commit", "selection")


def describe_model(model: ModelFolder) -> dict[str, Any]:
    """Columns, params and tags of a LoggedModel; see `log_run_model`."""
    from segpipe.inference.pyfunc import INPUTS, REQUIRED, output_columns

    point = {name: value for name, value in model.operating_point.items() if name != "froc"}
    return {
        "inputs": dict(INPUTS),
        "outputs": dict(output_columns()),
        "required": list(REQUIRED),
        "params": flatten({"network": model.network, "recipe": model.recipe.to_dict(), "operating_point": point}),
        "tags": {name: model.about[name] for name in _TAGS if name in model.about},
    }
