"""Segmentation of lung nodules and lung tumours in CT: from a scan to an evaluated, exported model.

What the command line does, four functions do in a program; PyTorch is imported when one of them needs it:

- `train("+experiment=lung_nodule", "optimizer.lr=1e-3")` trains, evaluates and exports.
- `load_model(folder)` opens a model folder for many scans.
- `predict(scan, model)` segments a scan.
- `evaluate(model, data, output=folder)` and `evaluate(masks, references, output=folder)` measure how good masks are.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from segpipe.inference.loaded_model import LoadedModel
    from segpipe.inference.predictor import Prediction
    from segpipe.inference.prompts.prompt import Prompt

__version__ = "0.1.0"
__all__ = ["__version__", "evaluate", "load_model", "predict", "train"]


def train(*overrides: str, folder: str | Path) -> Path:
    """Trains, evaluates on held-out cases and exports, as `python -m segpipe` does with the same words.

    Cases are prepared and loaded by processes of their own: a script calls this below `if __name__ == "__main__":`.

    Args:
        overrides: What to train on what, in Hydra's words, e.g. `+experiment=lung_nodule` and `optimizer.lr=1e-3`.
        folder: The run folder, which then holds `model/`, `evaluation/` and `report.html`, of a study `study.md`.

    Returns:
        The run folder.

    Raises:
        SegpipeError: for wrong words, before any work; or when there is no model in the end, see `train.log`.
    """
    from segpipe.cli.train_in_folder import train_in_folder

    return train_in_folder(overrides, Path(folder))


def load_model(
    folder: str | Path,
    *,
    backend: str | None = None,
    device: str = "auto",
    ratings: str | Path | None = None,
    verify_key: str | Path | None = None,
) -> "LoadedModel":
    """Opens a model folder; what it returns predicts many scans without being loaded again.

    Args:
        folder: The folder `model` of a run, or the name of a shipped model; its files are checked by their digests.
        backend: torch, onnx or openvino; None takes the folder's own.
        device: For `torch`: auto, cpu, cuda or mps.
        ratings: A rating model, by its folder or name (`lidc-ratings`), that rates each finding.
        verify_key: A public key (PEM) by which every folder must be signed.

    Raises:
        ModelError: when a folder is damaged, no model folder, or not signed by this key.
        ConfigError: for an unreadable key, an unknown backend or a device that is not there.
    """
    from segpipe.export.model_folder import read_model_folder
    from segpipe.export.shipped import find_model
    from segpipe.export.signature import read_public_key
    from segpipe.inference.loaded_model import LoadedModel
    from segpipe.inference.ratings.rater import Rater

    key = read_public_key(Path(verify_key)) if verify_key is not None else None
    model = read_model_folder(find_model(folder), key=key)
    rater = Rater.open(find_model(ratings), key=key) if ratings is not None else None
    return LoadedModel(model, backend=backend, device=device, rater=rater)


def predict(
    scan: str | Path,
    model: "LoadedModel | str | Path",
    *,
    at_mm: "tuple[float, float, float] | Prompt | None" = None,
    output: str | Path | None = None,
) -> "Prediction":
    """Segments a scan at the model's own operating point.

    Args:
        scan: An image file (NIfTI, NRRD, MHA), or a folder or zip file with one DICOM series.
        model: A model folder, the name of a shipped model, or what `load_model` returns.
        at_mm: A point in the scan, RAS+ mm, or a `segpipe.inference.prompts.prompt.Prompt` of points, box or line:
            only the lesion there; a model of single nodules needs it.
        output: A folder that gets the mask as `NAME.nii.gz` and the findings as `NAME.json`.

    Returns:
        The mask, uint8 (x, y, z) on the scan's own grid, and the findings with their measurements.

    Raises:
        SegpipeError: when the scan or the model cannot be read, or the result not be written.
    """
    loaded = load_model(model) if isinstance(model, str | Path) else model
    return loaded.predict(Path(scan), at_mm=at_mm, output=Path(output) if output is not None else None)


def evaluate(
    evaluated: "LoadedModel | str | Path",
    reference: str | Path,
    *,
    output: str | Path,
    split: str | None = None,
) -> dict[str, Any]:
    """Measures how good a model is on a data set, or how good masks are by reference masks.

    Args:
        evaluated: A model folder, the name of a shipped model or what `load_model` returns, or else a folder of masks.
        reference: For a model a data set folder (with `manifest.json`), for masks a folder of masks with their names.
        output: A folder that gets `summary.json`, `cases.csv`, `lesions.csv`, `froc.csv`, `froc_by_diameter.csv` and
            `report.html`.
        split: Which cases a model is evaluated on: train, val, test or all; by default those it was not trained on.

    Returns:
        The content of `summary.json`; cases that could not be evaluated count as its `failed_cases`, and the log
        names them.

    Raises:
        SegpipeError: when nothing can be evaluated.
    """
    from segpipe.pipelines.evaluation import evaluate_anything

    return evaluate_anything(evaluated, Path(reference), Path(output), split=split)
