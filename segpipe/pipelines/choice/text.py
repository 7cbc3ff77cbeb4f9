"""A choice in words: the candidates, the best first, what was taken and why, and what the choice is worth."""

from collections.abc import Mapping
from typing import Any


def describe_choice(report: Mapping[str, Any]) -> str:
    """The content of `choice.json` as a table and a few sentences.

    >>> one = {"name": "a", "megabytes": 1.0, "mean": 0.8, "ci95": [0.7, 0.9], "difference_to_best": None}
    >>> other = {**one, "name": "b", "mean": 0.6, "difference_to_best": -0.2, "difference_ci95": [-0.3, -0.1]}
    >>> nested = {"mean": 0.75, "interval": None, "taken": {0: "a", 1: "b"}}
    >>> report = {"metric": "dice", "cases": 4, "patients": 4, "taken": "a", "best": "a", "nested": nested, "apart": {}}
    >>> print(describe_choice({**report, "candidates": [one, other]}))
    4 cases of 4 patients, each by networks that did not train on its patient
                 dice  95 % interval    to the best       weights
      a         0.800  0.700 to 0.900   the best           1.0 MB  taken
      b         0.600  0.700 to 0.900   -0.300 to -0.100   1.0 MB
    taken    a: the best
    honest   0.750, chosen without each fold and measured on it (taken: 1 × a, 1 × b)
    """
    width = max(8, *(len(row["name"]) for row in report["candidates"]))
    rows = sorted(report["candidates"], key=lambda row: -row["mean"])
    return "\n".join(
        [
            f"{report['cases']} cases of {report['patients']} patients, "
            "each by networks that did not train on its patient",
            f"  {'':<{width}} {report['metric']:>6}  95 % interval    to the best       weights",
            *(_row(row, width, report["taken"]).rstrip() for row in rows),
            f"taken    {report['taken']}: {_why(report)}",
            f"honest   {honest_figure(report)}",
            *(f"apart    {name}: {reason}" for name, reason in report["apart"].items()),
        ]
    )


def honest_figure(report: Mapping[str, Any]) -> str:
    """What the way of choosing is worth, and what it took."""
    nested = report["nested"]
    names = list(nested["taken"].values())
    counts = ", ".join(f"{names.count(name)} × {name}" for name in dict.fromkeys(names))
    ends = f" ({_ends(nested['interval'])})" if nested["interval"] else ""
    return f"{nested['mean']:.3f}{ends}, chosen without each fold and measured on it (taken: {counts})"


def _row(row: Mapping[str, Any], width: int, taken: str) -> str:
    best = row["difference_to_best"] is None
    to_best = "the best" if best else _ends(row["difference_ci95"])
    mark = "taken" if row["name"] == taken else ""
    return (
        f"  {row['name']:<{width}} {row['mean']:6.3f}  {_ends(row['ci95']):<15}  {to_best:<16} "
        f"{row['megabytes']:5.1f} MB  {mark}"
    )


def _why(report: Mapping[str, Any]) -> str:
    best = report["best"]
    return "the best" if report["taken"] == best else f"cheaper than {best}, which is not surely better"


def _ends(interval: Any) -> str:
    return f"{interval[0]:.3f} to {interval[1]:.3f}" if interval else "–"
