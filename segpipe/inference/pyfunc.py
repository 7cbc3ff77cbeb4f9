"""The door through which MLflow opens a registered model: paths of scans in, findings out; it knows nothing of MLflow.

MLflow's `pyfunc` flavour calls `_load_pyfunc` of the module that a model names as its loader, so nothing is pickled.
"""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segpipe.export.model_folder import ModelFolder, read_model_folder
from segpipe.inference.loaded_model import LoadedModel
from segpipe.inference.window.grid import Point

if TYPE_CHECKING:
    import pandas as pd

INPUTS = {"scan": "string", "x_mm": "double", "y_mm": "double", "z_mm": "double"}
REQUIRED = ("scan",)


class ScanModel:
    """A model folder that answers tables of scans with tables of findings.

    Args:
        folder: A verified model folder.
        backend: `torch` or `onnx`; None takes the folder's own.
        device: For `torch`: auto, cpu, cuda or mps.
    """

    def __init__(self, folder: ModelFolder, *, backend: str | None = None, device: str = "auto") -> None:
        self._model = LoadedModel(folder, backend=backend, device=device)

    def predict(self, model_input: "pd.DataFrame", params: dict[str, Any] | None = None) -> "pd.DataFrame":
        """Predicts scans at the model's own operating point.

        Args:
            model_input: One row per scan: `scan`, the path of an image file or of a DICOM series, and optionally the
                point `x_mm`, `y_mm`, `z_mm` (RAS+) at which the nodule is to be segmented.
            params: None are known.

        Returns:
            One row per finding: `scan`, `number`, its measurements and `mean_probability`.

        Raises:
            SegpipeError: for a scan that cannot be read or predicted.
        """
        import pandas as pd

        rows = [row for asked in model_input.to_dict("records") for row in self._rows(asked)]
        return pd.DataFrame(rows, columns=list(output_columns()))

    def _rows(self, asked: dict[str, Any]) -> list[dict[str, Any]]:
        findings = self._model.predict(Path(str(asked["scan"])), at_mm=_point(asked)).findings
        return [_row(str(asked["scan"]), finding.to_dict()) for finding in findings]


def output_columns() -> dict[str, str]:
    """The columns of the findings and their MLflow types."""
    from dataclasses import fields

    from segpipe.inference.findings import Finding

    kinds: dict[Any, str] = {int: "long", float: "double", float | None: "double"}
    found = {"scan": "string"}
    for field in fields(Finding):
        if field.name in ("centre_mm", "centre_lps_mm"):
            found |= {_axis(field.name, axis): "double" for axis in "xyz"}
        else:
            found[field.name] = kinds.get(field.type, "string")
    return found


def _load_pyfunc(path: str, model_config: dict[str, Any] | None = None) -> ScanModel:
    """Called by MLflow with the model folder it has fetched; `model_config` may name `backend` and `device`."""
    return ScanModel(read_model_folder(Path(path)), **(model_config or {}))


def _point(asked: dict[str, Any]) -> Point | None:
    """The point of a row; None when any of its coordinates is missing or NaN."""
    values = [asked.get(name) for name in ("x_mm", "y_mm", "z_mm")]
    known = [float(value) for value in values if isinstance(value, int | float) and value == value]
    return (known[0], known[1], known[2]) if len(known) == 3 else None


def _row(scan: str, finding: dict[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {"scan": scan}
    for name, value in finding.items():
        if name in ("centre_mm", "centre_lps_mm"):
            row |= {_axis(name, axis): number for axis, number in zip("xyz", value, strict=True)}
        else:
            row[name] = value if value is not None else _missing(name)
    return row


def _missing(name: str) -> Any:
    """What stands for a value that a finding does not have, in the type of its column."""
    return math.nan if output_columns()[name] == "double" else ""


def _axis(name: str, axis: str) -> str:
    return f"{name.removesuffix('_mm')}_{axis}_mm"
