"""A comparison in words and aligned tables, for the terminal and the page."""

from collections.abc import Mapping, Sequence
from typing import Any

from segpipe.evaluation.comparison.compare import SIGNIFICANT, SMALLER_IS_BETTER
from segpipe.evaluation.text_summary import align, number

NAMES = {
    "dice": "Dice",
    "iou": "IoU",
    "precision": "precision",
    "recall": "recall",
    "nsd": "NSD",
    "hd95_mm": "HD95, mm",
    "volume_error_pct": "size of volume error, %",
}
LESION_NAMES = {
    "f1": "lesion F1",
    "recall": "lesion recall",
    "precision": "lesion precision",
    "panoptic_quality": "panoptic quality",
}
Report = Mapping[str, Any]


def describe_comparison(report: Report) -> str:
    """The whole comparison as text.

    Args:
        report: What `compare` returns.
    """
    parts = [*(f"note: {note}" for note in report["notes"])]
    for pair in report["pairs"]:
        parts += ["", *_pair(pair, report["metric"])]
    parts += ["", f"best by mean {NAMES[report['metric']]} over the cases all share: {report['best']}"]
    return "\n".join(parts).lstrip("\n")


def verdict(pair: Report, metric: str) -> str:
    """One sentence that says which run is better, by how much, and whether it may be luck."""
    row = pair["metrics"].get(metric)
    if row is None or row["difference"] is None:
        return f"{NAMES[metric]} is not known for any shared case."
    how = f"{NAMES[metric]} {signed(row['difference'])}{_bounds(row['ci95'])}, {_p(row['p_holm'])}"
    if row["p_holm"] >= SIGNIFICANT:
        return f"No difference beyond luck between {pair['first']} and {pair['second']}: {how}."
    second = (row["difference"] > 0) != (metric in SMALLER_IS_BETTER)
    better, worse = ("second", "first") if second else ("first", "second")
    return f"{pair[better]} is better than {pair[worse]}: {how} ({pair['second']} minus {pair['first']})."


def figure_rows(pair: Report) -> list[tuple[str, Mapping[str, Any]]]:
    """Name and figures of every compared metric and lesion ratio of a pair."""
    metrics = [(NAMES[name], row) for name, row in pair["metrics"].items()]
    return [*metrics, *((LESION_NAMES[name], row) for name, row in pair["lesions"].items())]


def signed(value: float | None) -> str:
    """A difference with its sign; a dash where it is undefined."""
    return "–" if value is None else f"{value:+.3f}"


def p_value(p: float | None) -> str:
    """A p-value as text.

    >>> p_value(0.0312), p_value(0.00004)
    ('0.031', '< 0.001')
    """
    return "–" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def _pair(pair: Report, metric: str) -> list[str]:
    head = f"A = {pair['first']}   B = {pair['second']}"
    shared = f"{pair['cases_shared']} shared cases of {pair['patients_shared']} patients"
    header = ("", "A", "B", "B − A", "95 % interval", "p", "p (Holm)", "better/equal/worse")
    rows = [header, *(_row(name, row) for name, row in figure_rows(pair))]
    return [head, shared, verdict(pair, metric), *align(rows), *_froc(pair), *_strata(pair), *_cases(pair, metric)]


def _row(name: str, row: Mapping[str, Any]) -> tuple[str, ...]:
    counts = f"{row['wins']}/{row['ties']}/{row['losses']}" if "wins" in row else ""
    values = (number(row["first"]), number(row["second"]), signed(row["difference"]), _interval(row["ci95"]))
    return (name, *values, p_value(row["p"]), p_value(row.get("p_holm")), counts)


def _froc(pair: Report) -> list[str]:
    """The CPM before and after, of all lesions and of each diameter, by the first rule of matching."""
    if not pair["froc"]:
        return []
    rule, sizes = next(iter(pair["froc"].items()))
    rows = [
        (f"  {diameter}", *(number(row[run]["cpm"]) for run in ("first", "second")), signed(row["difference"]["cpm"]))
        for diameter, row in sizes.items()
    ]
    return [f"CPM by diameter of the lesion, matched by {rule}", *align([("", "A", "B", "B − A"), *rows])]


def _strata(pair: Report) -> list[str]:
    found = [
        (f"  {kind} {stratum}", row)
        for kind, strata in pair["strata"].items()
        for stratum, row in strata.items()
        if row["differs"]
    ]
    rows = [
        (name, number(row["first"]), number(row["second"]), signed(row["difference"]), p_value(row["p_holm"]))
        for name, row in found
    ]
    if not rows:
        return ["no kind of lesion in which they differ beyond luck"]
    return ["kinds of lesion in which they differ (lesion Dice)", *align([("", "A", "B", "B − A", "p (Holm)"), *rows])]


def _cases(pair: Report, metric: str) -> list[str]:
    rows: Sequence[tuple[str, ...]] = [
        (f"  {row['case']}", number(row["first"]), number(row["second"]), signed(row["difference"]))
        for row in pair["cases"]
        if row["difference"]
    ]
    if not rows:
        return []
    return [f"cases that differ most ({NAMES[metric]})", *align([("", "A", "B", "B − A"), *rows])]


def _interval(bounds: Sequence[float] | None) -> str:
    return "–" if bounds is None else f"{bounds[0]:+.3f} … {bounds[1]:+.3f}"


def _p(p: float | None) -> str:
    text = p_value(p)
    return f"p {text}" if text.startswith("<") else f"p = {text}"


def _bounds(bounds: Sequence[float] | None) -> str:
    return "" if bounds is None else f" (95 % interval {_interval(bounds)})"
