"""The model card of a rating model: what it predicts, how well next to readers, and what it must not be used for."""

from collections.abc import Mapping, Sequence
from typing import Any

from segpipe import __version__
from segpipe.export.export_spec import INDEX, ONNX, WEIGHTS
from segpipe.labels.ratings import RatingScale

INTENDED_USE = (
    "It predicts which ratings LIDC's readers would give a nodule. They are opinions on an image, no diagnosis: "
    "behind LIDC's ratings of malignancy stands no pathology."
)
COLUMNS = {
    "auc": "AUC, upper against lower grades",
    "kappa": "quadratic kappa",
    "kappa_of_mean": "of the rounded mean",
    "accuracy": "same grade",
    "calibration_error": "calibration error",
}


def rating_card(scales: Sequence[RatingScale], about: Mapping[str, Any]) -> str:
    """The content of `docs/README.md`.

    Args:
        scales: What is rated.
        about: Facts, and the figures of `compared_tables`.
    """
    listed = {name: value for name, value in about.items() if not isinstance(value, Mapping)}
    return "\n".join(
        [
            "# Readers' ratings of lung nodules in CT",
            "",
            f"**Not a medical device.** {INTENDED_USE}",
            "",
            "| rating | grades |",
            "| --- | --- |",
            *map(_grades, scales),
            "",
            "## Data",
            "",
            *(f"- {name.replace('_', ' ')}: {value}" for name, value in listed.items()),
            "",
            "## Figures",
            "",
            "Each nodule is rated by a network that has seen none of its patient's; intervals (95 %) over patients.",
            "",
            *compared_tables(about),
            "",
            "## Use",
            "",
            "    python -m segpipe predict --model MODEL --ratings . --input SCAN --output DIR",
            "",
            f"`{WEIGHTS}` holds the weights, `{ONNX}` the network, `{INDEX}` all numbers and each file's SHA-256.",
            f"Written by segpipe {__version__}.",
            "",
        ]
    )


def compared_tables(about: Mapping[str, Any]) -> list[str]:
    """The figures of the model and of what it was chosen from, each as a table in Markdown.

    Args:
        about: `learnt_from` what the model has learnt, `log_loss` by what is learnt from, and for each rating what
            `rating_figures` gives, under `figures` of the model and under `others`.
    """
    kinds = {about.get("learnt_from", "the model"): about.get("figures", {}), **about.get("others", {})}
    lines: list[str] = []
    for name, figures in kinds.items():
        loss = about.get("log_loss", {}).get(name)
        lines += [f"From {name}" + ("" if loss is None else f" (log loss {loss:.3f})") + ":", "", *_table(figures), ""]
    return lines[:-1]


def _table(figures: Mapping[str, Mapping[str, Any]]) -> list[str]:
    head = ["rating", *COLUMNS.values()]
    rows = [[name, *(_cell(of_rating[column]) for column in COLUMNS)] for name, of_rating in figures.items()]
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def _grades(scale: RatingScale) -> str:
    grades = (f"{grade.value} {grade.name}".strip() for grade in scale.grades)
    return f"| {scale.name} | {', '.join(grades)} |"


def _cell(figure: Mapping[str, Any]) -> str:
    value, bounds = figure["mean"], figure.get("ci95")
    shown = "undefined" if value is None else f"{value:.3f}"
    return shown + (f" ({bounds[0]:.3f} to {bounds[1]:.3f})" if bounds else "")
