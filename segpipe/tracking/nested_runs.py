"""Runs that belong together: a cross-validation or a sweep as one parent run that says what its children found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

from segpipe.tracking.metric_names import HEADLINES, summary_metrics

if TYPE_CHECKING:
    from segpipe.tracking.mlflow import Tracker

SPREAD = "spread"
_CASE = (("Dice", "dice"), ("NSD", "nsd"), ("HD95, mm", "hd95_mm"))
_LESION = (("lesion F1", "f1"), ("lesion recall", "recall"), ("lesion precision", "precision"))
_COUNTS = (f"{HEADLINES}/cases",)


@dataclass(frozen=True)
class Child:
    """A finished run of a family.

    Args:
        name: What distinguishes it from its siblings, e.g. `fold 0` or `lr=0.001`.
        run_id: Its MLflow run, or None when it was not tracked.
        summary: The content of its `summary.json`.
    """

    name: str
    run_id: str | None
    summary: Mapping[str, Any]


def report_nested_runs(
    parent: "Tracker", children: Sequence[Child], *, pooled: Mapping[str, Any] | None = None, best: Child | None = None
) -> None:
    """Logs to the parent run what its children found: how much they differ in the section `spread`, a table, a text.

    A cross-validation logs the summary of its pooled out-of-fold cases itself, as a single run does, so that it lines
    up with single runs in MLflow's tables.

    Args:
        parent: The open parent run.
        children: Its finished children.
        pooled: The summary of the cases of all children together.
        best: The child that a sweep found best.
    """
    parent.log_metrics(spread([child.summary for child in children]), step=0)
    parent.log_table([_row(child) for child in children], "children")
    parent.set_tags({"children": len(children), "best_child": best.run_id if best else None})
    parent.describe(_description(children, pooled, best))


def describe_run(summary: Mapping[str, Any]) -> str:
    """The headline figures with their intervals, in Markdown, for the top of a run's page.

    >>> print(describe_run({"cases": 4, "data": "a", "metrics": {"dice": {"mean": 0.8, "ci95": [0.7, 0.9]}}}))
    4 held-out cases of a, in each scan's own space
    <BLANKLINE>
    | figure | value | 95 % interval |
    |---|---|---|
    | Dice | 0.800 | 0.700 to 0.900 |
    """
    metrics, lesions = summary.get("metrics") or {}, summary.get("lesions") or {}
    intervals = lesions.get("ci95") or {}
    rows = [(name, (metrics.get(key) or {}).get("mean"), (metrics.get(key) or {}).get("ci95")) for name, key in _CASE]
    rows += [(name, lesions.get(key), intervals.get(key)) for name, key in _LESION]
    lines = [f"| {name} | {value:.3f} | {_bounds(ends)} |" for name, value, ends in rows if value is not None]
    headline = f"{summary.get('cases')} held-out cases of {summary.get('data')}, in each scan's own space"
    return "\n".join([headline, "", "| figure | value | 95 % interval |", "|---|---|---|", *lines])


def spread(summaries: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Mean, standard deviation (n − 1), least and most of each headline figure over runs, as metrics.

    >>> found = spread([{"metrics": {"dice": {"mean": 0.7}}}, {"metrics": {"dice": {"mean": 0.9}}}])
    >>> {name: round(value, 3) for name, value in found.items()}
    {'spread/dice_mean': 0.8, 'spread/dice_std': 0.141, 'spread/dice_min': 0.7, 'spread/dice_max': 0.9}
    """
    figures = [_headlines(summary) for summary in summaries]
    found = {}
    for name in dict.fromkeys(name for row in figures for name in row):
        values = [row[name] for row in figures if name in row]
        found[f"{SPREAD}/{name}_mean"] = fmean(values)
        if len(values) > 1:
            found[f"{SPREAD}/{name}_std"] = stdev(values)
        found[f"{SPREAD}/{name}_min"], found[f"{SPREAD}/{name}_max"] = min(values), max(values)
    return found


def _headlines(summary: Mapping[str, Any]) -> dict[str, float]:
    known = summary_metrics(summary).items()
    return {
        name.removeprefix(f"{HEADLINES}/"): value
        for name, value in known
        if name.startswith(f"{HEADLINES}/") and name not in _COUNTS
    }


def _row(child: Child) -> dict[str, Any]:
    cases = child.summary.get("cases")
    return {"child": child.name, "run_id": child.run_id, "cases": cases, **_headlines(child.summary)}


def _bounds(ends: Sequence[float] | None) -> str:
    return f"{ends[0]:.3f} to {ends[1]:.3f}" if ends else "–"


def _description(children: Sequence[Child], pooled: Mapping[str, Any] | None, best: Child | None) -> str:
    """A table for the top of the run's page, in Markdown."""
    rows = [(child.name, child.summary) for child in children] + ([("**pooled**", pooled)] if pooled else [])
    names = ("dice", "lesion_f1", "lesion_recall", "lesion_precision")
    lines = [
        f"| run | cases | {' | '.join(name.replace('_', ' ') for name in names)} |",
        "|---" * (len(names) + 2) + "|",
    ]
    for name, summary in rows:
        figures = _headlines(summary)
        shown = (f"{figures[key]:.3f}" if key in figures else "–" for key in names)
        lines.append(f"| {name} | {summary.get('cases', '–')} | {' | '.join(shown)} |")
    return "\n".join([*lines, *(["", f"Best: **{best.name}**"] if best else [])])
