"""The figures of a robustness test as plain data: its summary and its tables."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from segpipe import __version__
from segpipe.errors import SegpipeError
from segpipe.evaluation.robustness import CLEAN, Results, curves_of, summarise_robustness
from segpipe.pipelines.robustness.plan import RobustnessPlan

FIGURES = ("dice", "recall", "false_positives")


def summarise_run(plan: RobustnessPlan, results: Results, errors: Sequence[SegpipeError]) -> dict[str, Any]:
    """The content of `summary.json`, with what was evaluated and where levels come from."""
    summary = summarise_robustness(results, seed=plan.seed)
    for name, row in curves_of(summary).items():
        row |= {"unit": plan.changes[name].unit, "source": plan.changes[name].source}
    cases = results[CLEAN]
    counts = {"cases": len(cases), "patients": len({one.patient for one in cases}), "failed_cases": len(errors)}
    return {**plan.evaluation.about, "seed": plan.seed, "segpipe_version": __version__, **counts, **summary}


def condition_rows(summary: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Rows of `conditions.csv`."""
    yield {"corruption": "", "severity": 0, "level": None, "unit": "", **_flat(summary["clean"])}
    for name, found in curves_of(summary).items():
        for row in found["severities"]:
            names = {"corruption": name, "severity": row["severity"], "level": row["level"], "unit": found["unit"]}
            yield {**names, **_flat(row)}


def case_rows(results: Results) -> Iterator[dict[str, Any]]:
    """Rows of `cases.csv`."""
    for condition, found in results.items():
        for one in found:
            yield {
                "case": one.case, "patient": one.patient, "corruption": condition.corruption,
                "severity": condition.severity, "level": condition.level, "dice": one.figures.get("dice"),
                "tp": one.true_positives, "fn": one.false_negatives, "fp": one.false_positives,
            }  # fmt: skip


def _flat(figures: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name in FIGURES:
        low, high = figures[name]["ci95"] or (None, None)
        flat |= {name: figures[name]["mean"], f"{name}_low": low, f"{name}_high": high}
    return flat
