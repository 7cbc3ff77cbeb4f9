"""Two or more evaluations side by side: which is better, by how much, where, and whether it is luck."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from itertools import combinations
from typing import Any

import numpy as np

from segpipe.errors import ConfigError, DatasetError
from segpipe.evaluation.comparison.froc_difference import compare_froc
from segpipe.evaluation.comparison.paired_tests import Difference, difference_of, difference_of_means, holm
from segpipe.evaluation.reading import Evaluation
from segpipe.evaluation.strata import RATINGS, diameter_stratum, rank, rating_stratum
from segpipe.evaluation.summary import lesion_ratios
from segpipe.evaluation.tables import Row
from segpipe.geometry import FloatArray

METRICS = ("dice", "iou", "precision", "recall", "nsd", "hd95_mm", "volume_error_pct")
SMALLER_IS_BETTER = ("hd95_mm", "volume_error_pct")
LESION_RATIOS = ("f1", "recall", "precision", "panoptic_quality")
CASES_SHOWN = 10
SIGNIFICANT = 0.05
_SAME_VOLUME = 1e-3


def compare(
    evaluations: Sequence[Evaluation], *, metric: str = "dice", force: bool = False, seed: int = 0
) -> dict[str, Any]:
    """Compares every two evaluations, the later one against the earlier, on the cases they share.

    Volume errors are compared by their size. P-values are corrected for the number of pairs (Holm), those of strata
    for the number of strata of a pair.

    Args:
        evaluations: Two or more, with different names.
        metric: By which runs are ranked and cases are shown.
        force: Compare evaluations on different data all the same.
        seed: Of resamples and permutations.

    Returns:
        Plain data: `runs`, `best`, `metric`, `notes`, and for each pair `metrics`, `lesions`, `froc`,
        `strata` and `cases`.

    Raises:
        ConfigError: for fewer than two evaluations or an unknown metric.
        DatasetError: when they are on different data and `force` is not given, or share no case.
    """
    if len(evaluations) < 2:
        raise ConfigError("a comparison needs two runs or more", facts={"found": len(evaluations)})
    if metric not in METRICS:
        raise ConfigError("the metric is not known", facts={"found": metric, "known": ", ".join(METRICS)})
    notes = check_same_data(evaluations, force=force)
    pairs = [_compare_pair(first, second, metric, seed) for first, second in combinations(evaluations, 2)]
    _correct(pairs)
    return {
        "metric": metric,
        "runs": [_about(evaluation, evaluations) for evaluation in evaluations],
        "best": _best(evaluations, metric),
        "notes": notes,
        "pairs": pairs,
    }


def check_same_data(evaluations: Sequence[Evaluation], *, force: bool = False) -> list[str]:
    """Makes sure that evaluations can be compared: one data hash, and the same reference for every shared case.

    Returns:
        What does not fit, in words; empty when all fits.

    Raises:
        DatasetError: when something does not fit and `force` is not given.
    """
    hashes = {evaluation.name: str(evaluation.summary.get("data_hash") or "unknown") for evaluation in evaluations}
    problems = []
    if len(set(hashes.values()) - {"unknown"}) > 1:
        problems.append("the data hashes differ: " + ", ".join(f"{name} {value}" for name, value in hashes.items()))
    for first, second in combinations(evaluations, 2):
        other = [name for name, a, b in _shared(first, second) if not _same_reference(a, b)]
        if other:
            shown = ", ".join(other[:4]) + (", …" if len(other) > 4 else "")
            problems.append(
                f"{first.name} and {second.name} have different references for {len(other)} cases ({shown})"
            )
    if problems and not force:
        raise DatasetError(
            "the runs were not evaluated on the same data",
            facts={f"found {number}": problem for number, problem in enumerate(problems, start=1)},
            hint="--force compares them all the same, on the cases they share",
        )
    return [f"compared by force: {problem}" for problem in problems]


def _compare_pair(first: Evaluation, second: Evaluation, metric: str, seed: int) -> dict[str, Any]:
    shared = _shared(first, second)
    if not shared:
        raise DatasetError(
            "the runs have no case in common",
            facts={first.name: f"{len(first.cases)} cases", second.name: f"{len(second.cases)} cases"},
            hint="compare runs that held out the same cases, e.g. the same fold",
        )
    return {
        "first": first.name,
        "second": second.name,
        "cases_shared": len(shared),
        "patients_shared": len({a["patient"] for _, a, _ in shared}),
        "metrics": {name: _metric(shared, name, seed) for name in METRICS if _has(shared, name)},
        "lesions": _lesions(first, second, shared, seed),
        "froc": compare_froc(first, second),
        "strata": _strata(first, second, seed),
        "cases": _cases(shared, metric),
    }


def _metric(shared: Sequence[tuple[str, Row, Row]], name: str, seed: int) -> dict[str, Any]:
    known = [(a, b) for _, a, b in shared if _value(a, name) is not None and _value(b, name) is not None]
    values = np.array([[_value(a, name), _value(b, name)] for a, b in known], dtype=np.float64).reshape(-1, 2)
    found = difference_of_means(values[:, 0], values[:, 1], [str(a["patient"]) for a, _ in known], seed=seed)
    gain = (values[:, 1] - values[:, 0]) * (-1 if name in SMALLER_IS_BETTER else 1)
    return {
        **_plain(found),
        "cases": len(known),
        "wins": int((gain > 1e-9).sum()),
        "ties": int((np.abs(gain) <= 1e-9).sum()),
        "losses": int((gain < -1e-9).sum()),
    }


def _lesions(
    first: Evaluation, second: Evaluation, shared: Sequence[tuple[str, Row, Row]], seed: int
) -> dict[str, Any]:
    counts = [_counts(first, [a for _, a, _ in shared]), _counts(second, [b for _, _, b in shared])]
    patients = [str(a["patient"]) for _, a, _ in shared]

    def ratio(name: str) -> Difference:
        def statistic(sums: FloatArray, _: FloatArray) -> FloatArray:
            return lesion_ratios(sums)[name]

        return difference_of(counts[0], counts[1], patients, statistic, seed=seed)

    return {name: _plain(ratio(name)) for name in LESION_RATIOS}


def _counts(evaluation: Evaluation, rows: Sequence[Row]) -> FloatArray:
    """TP, FP, FN and the sum of the pairs' IoU of each case, (cases, 4)."""
    overlaps: dict[str, float] = {}
    for lesion in evaluation.lesions:
        if lesion["kind"] == "reference":
            overlaps[lesion["case"]] = overlaps.get(lesion["case"], 0.0) + float(lesion["overlap"] or 0.0)
    return np.array([[row["tp"], row["fp"], row["fn"], overlaps.get(row["case"], 0.0)] for row in rows], np.float64)


def _strata(first: Evaluation, second: Evaluation, seed: int) -> dict[str, Any]:
    """Difference of the mean Dice of lesions in each stratum; missed lesions count 0."""
    found: dict[str, Any] = {}
    groups = sorted(_lesions_by_stratum(first, second).items(), key=lambda item: rank(*item[0]))
    for (kind, stratum), members in groups:
        dice = np.array([member[:2] for member in members], dtype=np.float64)
        difference = difference_of_means(dice[:, 0], dice[:, 1], [patient for *_, patient in members], seed=seed)
        found.setdefault(kind, {})[stratum] = {**_plain(difference), "lesions": len(members)}
    rows = [row for strata in found.values() for row in strata.values()]
    for row, corrected in zip(rows, holm([row["p"] for row in rows]), strict=True):
        row["p_holm"] = corrected
        row["differs"] = corrected < SIGNIFICANT
    return found


def _lesions_by_stratum(first: Evaluation, second: Evaluation) -> dict[tuple[str, str], list[tuple[float, float, str]]]:
    """Dice of both runs and patient of each reference lesion, by kind of stratum and stratum."""
    others = {(row["case"], row["number"]): row for row in second.lesions if row["kind"] == "reference"}
    groups: dict[tuple[str, str], list[tuple[float, float, str]]] = {}
    for row in first.lesions:
        other = others.get((row["case"], row["number"]))
        if row["kind"] == "reference" and other is not None and None not in (row["overlap"], other["overlap"]):
            member = (_lesion_dice(row), _lesion_dice(other), str(row["patient"]))
            for stratum in _strata_of(row):
                groups.setdefault(stratum, []).append(member)
    return groups


def _strata_of(row: Row) -> list[tuple[str, str]]:
    ratings = [(rating, rating_stratum(rating, row.get(f"extra_{rating}"))) for rating in RATINGS]
    return [
        ("diameter", diameter_stratum(float(row["diameter_mm"]))),
        *((kind, name) for kind, name in ratings if name is not None),
    ]


def _cases(shared: Sequence[tuple[str, Row, Row]], metric: str) -> list[dict[str, Any]]:
    rows = [(name, _value(a, metric), _value(b, metric)) for name, a, b in shared]
    known = [(name, a, b) for name, a, b in rows if a is not None and b is not None]
    known.sort(key=lambda row: (-abs(row[2] - row[1]), row[0]))
    return [{"case": name, "first": a, "second": b, "difference": b - a} for name, a, b in known[:CASES_SHOWN]]


def _correct(pairs: Sequence[dict[str, Any]]) -> None:
    """Adds `p_holm` over pairs to each metric and lesion ratio."""
    for part in ("metrics", "lesions"):
        for name in dict.fromkeys(name for pair in pairs for name in pair[part]):
            rows = [pair[part][name] for pair in pairs if pair[part].get(name, {}).get("p") is not None]
            for row, corrected in zip(rows, holm([row["p"] for row in rows]), strict=True):
                row["p_holm"] = corrected


def _best(evaluations: Sequence[Evaluation], metric: str) -> str:
    """The run with the best mean over the cases that all runs share."""
    tables = [{str(row["case"]): _value(row, metric) for row in evaluation.cases} for evaluation in evaluations]
    common = [case for case in tables[0] if all(table.get(case) is not None for table in tables)]
    if not common:
        raise DatasetError("no case has this metric in all runs", facts={"metric": metric})
    means = [float(np.mean([table[case] for case in common])) for table in tables]
    best = int(np.argmin(means) if metric in SMALLER_IS_BETTER else np.argmax(means))
    return evaluations[best].name


def _about(evaluation: Evaluation, evaluations: Sequence[Evaluation]) -> dict[str, Any]:
    ids = [{str(row["case"]) for row in other.cases} for other in evaluations]
    return {
        "name": evaluation.name,
        "data": evaluation.summary.get("data"),
        "data_hash": evaluation.summary.get("data_hash"),
        "cases": len(evaluation.cases),
        "cases_shared_by_all": len(set.intersection(*ids)),
        "failed_cases": evaluation.summary.get("failed_cases"),
    }


def _shared(first: Evaluation, second: Evaluation) -> list[tuple[str, Row, Row]]:
    others = {str(row["case"]): row for row in second.cases}
    return [(name, row, others[name]) for row in first.cases if (name := str(row["case"])) in others]


def _same_reference(first: Row, second: Row) -> bool:
    volumes = float(first["reference_mm3"]), float(second["reference_mm3"])
    same_count = int(first["tp"] + first["fn"]) == int(second["tp"] + second["fn"])
    return same_count and math.isclose(*volumes, rel_tol=_SAME_VOLUME, abs_tol=_SAME_VOLUME)


def _has(shared: Sequence[tuple[str, Row, Row]], name: str) -> bool:
    return any(_value(a, name) is not None and _value(b, name) is not None for _, a, b in shared)


def _value(row: Row, name: str) -> float | None:
    value = row.get(name)
    if value is None or value == "":
        return None
    return abs(float(value)) if name == "volume_error_pct" else float(value)


def _lesion_dice(row: Row) -> float:
    return 2 * float(row["overlap"]) / (1 + float(row["overlap"]))


def _plain(found: Difference | None) -> dict[str, Any]:
    if found is None:
        return {"first": None, "second": None, "difference": None, "ci95": None, "p": None}
    row = asdict(found)
    interval = row.pop("interval")
    finite = {key: value if math.isfinite(value) else None for key, value in row.items()}
    return {**finite, "ci95": list(interval) if interval else None}
