"""An evaluation from end to end, of masks or of a model: figures, tables and a page in one folder."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segpipe.errors import ConfigError, explain
from segpipe.evaluation.evaluated_cases import write_summary
from segpipe.export.shipped import find_model
from segpipe.labels import LabelMap
from segpipe.pipelines.evaluation_plan import Evaluated, plan_masks
from segpipe.pipelines.reports.case_pictures import draw_evaluated
from segpipe.pipelines.reports.evaluation_report import write_evaluation_report

if TYPE_CHECKING:
    from segpipe.inference.loaded_model import LoadedModel

log = logging.getLogger(__name__)


def write_evaluation_folder(
    evaluated: Evaluated,
    output: Path,
    *,
    data: Path | None = None,
    labels: LabelMap | None = None,
    seed: int = 0,
) -> tuple[dict[str, Any], Path]:
    """Writes tables, summary and page of an evaluation.

    Args:
        evaluated: What became of the cases, and what goes in front of the summary.
        output: The folder of the evaluation; it holds the predicted masks in `masks`, if a model made some.
        data: The data set folder with the scans, to be drawn, if a model was evaluated.
        labels: The classes of that model.
        seed: Of the bootstrap.

    Returns:
        The content of `summary.json`, and the page.

    Raises:
        DatasetError: when no case could be evaluated.
        OutputError: when a file cannot be written.
    """
    cases, about = evaluated
    summary = write_summary(cases, output, about=about, seed=seed)
    pictures = draw_evaluated(cases.results, data, output / "masks", labels=labels) if data else None
    return summary, write_evaluation_report(output, cases.results, summary, cases=pictures)


def evaluate_anything(
    evaluated: "LoadedModel | str | Path", reference: Path, output: Path, *, split: str | None = None
) -> dict[str, Any]:
    """See `segpipe.evaluate`."""
    model = _as_model(evaluated)
    if model is None:
        if split is not None:
            raise ConfigError("a split is of a data set, which masks do not know", facts={"split": split})
        plan = plan_masks(Path(str(evaluated)), reference, processes=1)  # a script may have no main guard
    else:
        from segpipe.pipelines.model_evaluation import plan_model

        plan = plan_model(model.folder, reference, split=split, engine=model.engine, masks=output / "masks")
    found = plan.run()
    for error in found[0].errors:
        log.error("%s", explain(error))
    labels = model.folder.recipe.label_map if model else None
    summary, _ = write_evaluation_folder(found, output, data=reference if model else None, labels=labels)
    return summary


def _as_model(evaluated: "LoadedModel | str | Path") -> "LoadedModel | None":
    """The model to evaluate; None for a folder of masks."""
    if not isinstance(evaluated, str | Path):
        return evaluated
    if not (find_model(evaluated) / "segpipe.json").is_file():
        return None
    from segpipe import load_model

    return load_model(evaluated)
