"""How figures fall as scans get worse: of each corruption and severity, and of all together."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.evaluation.bootstrap import interval_of, interval_of_mean
from segpipe.evaluation.results import CaseResult

Figure = dict[str, Any]
Results = Mapping["Condition", Sequence[CaseResult]]
WORST = 12
CORRUPTED, ATTACKED = "corruptions", "attacks"


@dataclass(frozen=True, order=True)
class Condition:
    """A corruption or attack of one severity, or none of severity 0.

    Args:
        corruption: Its name; empty for scans as they are.
        severity: 0 to 5.
        level: What the severity is, in the corruption's unit.
        group: Which conditions its figures are pooled with: `corruptions` or `attacks`.
    """

    corruption: str = ""
    severity: int = 0
    level: float | None = None
    group: str = CORRUPTED


CLEAN = Condition()


def show_level(level: float) -> str:
    """A level with at most three digits that count.

    >>> show_level(1600), show_level(1 / 12)
    ('1600', '0.0833')
    """
    return f"{float(f'{level:.3g}'):g}"


def summarise_robustness(results: Results, *, seed: int = 0) -> dict[str, Any]:
    """The content of `summary.json`: plain data, None where a figure is undefined.

    - `clean`: the figures of the scans as they are.
    - `corruptions`: by name, the figures of each severity, and `mean_dice` and `mean_drop` over its severities.
    - `mean_corrupted`: over all corruptions and severities, every one counting equally: Dice, recall, false positives
      of a scan, and the `drop` of Dice, case by case from the same scan as it is.
    - `worst`: cases that lose most.
    - `attacks`, `mean_attacked` and `worst_attacked`: the same of attacks, which no scanner makes and a mean over
      scanners must not contain.

    Each figure has a mean, a 95 % interval over patients, and the number of cases that define it.

    Args:
        results: The cases of each condition; `CLEAN` is one of them.
        seed: Of the bootstrap.

    Source: mean-corrupted figures as in Hendrycks and Dietterich, ICLR 2019, without dividing by those of a baseline.
    """
    corrupted, attacked = (_of_group(results, group) for group in (CORRUPTED, ATTACKED))
    return {
        "clean": figures_of(results[CLEAN], seed=seed),
        "corruptions": _curves(corrupted, seed),
        "mean_corrupted": _mean_over_all(corrupted, seed),
        "worst": worst_cases(corrupted),
        "attacks": _curves(attacked, seed),
        "mean_attacked": _mean_over_all(attacked, seed),
        "worst_attacked": worst_cases(attacked),
    }


def curves_of(summary: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The figures of each corruption and each attack of a summary, by name."""
    return {**summary[CORRUPTED], **summary[ATTACKED]}


def figures_of(results: Sequence[CaseResult], *, seed: int = 0) -> dict[str, Figure]:
    """Dice, recall of lesions and false positives of a scan, each with its interval."""
    known = [result for result in results if _dice(result) is not None]
    found = np.array([(result.true_positives, len(result.lesions)) for result in results], dtype=np.float64)
    patients = [result.patient for result in results]
    return {
        "dice": _mean([float(result.figures["dice"] or 0) for result in known], [one.patient for one in known], seed),
        "recall": {
            "mean": _ratio(found.sum(axis=0)),
            "ci95": interval_of(lambda weights: _ratios(weights @ found), patients, seed=seed),
            "n": int(found[:, 1].sum()),
        },
        "false_positives": _mean([float(result.false_positives) for result in results], patients, seed),
    }


def worst_cases(results: Results, *, count: int = WORST) -> list[dict[str, Any]]:
    """The cases and conditions with the largest loss of Dice, each case once."""
    before = _per_case({CLEAN: results[CLEAN]}, _dice)
    found = [
        (before[result.case] - dice, condition, result.case)
        for condition, own in results.items()
        for result in own
        if condition != CLEAN and result.case in before and (dice := _dice(result)) is not None
    ]
    found.sort(key=lambda one: (-one[0], one[1:]))
    first = {one[2]: one for one in reversed(found)}
    return [_worst(*one, before) for one in found if first[one[2]] == one][:count]


def _worst(drop: float, condition: Condition, case: str, before: Mapping[str, float]) -> dict[str, Any]:
    return {
        "case": case,
        "corruption": condition.corruption,
        "severity": condition.severity,
        "level": condition.level,
        "clean_dice": before[case],
        "dice": before[case] - drop,
        "drop": drop,
    }


def _of_group(results: Results, group: str) -> Results:
    return {one: found for one, found in results.items() if one == CLEAN or one.group == group}


def _curves(results: Results, seed: int) -> dict[str, Any]:
    names = dict.fromkeys(condition.corruption for condition in sorted(results) if condition != CLEAN)
    return {name: _of_corruption(results, name, seed) for name in names}


def _of_corruption(results: Results, name: str, seed: int) -> dict[str, Any]:
    own = {condition: found for condition, found in sorted(results.items()) if condition.corruption == name}
    patients, drops = _patients(results), _drops({CLEAN: results[CLEAN], **own})
    figures = {one: figures_of(found, seed=seed) for one, found in own.items()}
    return {
        "severities": [{"severity": one.severity, "level": one.level, **found} for one, found in figures.items()],
        "mean_dice": _average([found["dice"]["mean"] for found in figures.values()]),
        "mean_drop": _mean(list(drops.values()), [patients[case] for case in drops], seed),
    }


def _mean_over_all(results: Results, seed: int) -> dict[str, Any]:
    corrupted = {condition: found for condition, found in results.items() if condition != CLEAN}
    patients, drops = _patients(results), _drops(results)
    per_case = _per_case(corrupted, _dice)
    false = _per_case(corrupted, lambda result: float(result.false_positives))
    counts = _per_case(corrupted, lambda result: float(result.true_positives))
    lesions = _per_case(corrupted, lambda result: float(len(result.lesions)))
    pairs = np.array([(counts[case], lesions[case]) for case in counts], dtype=np.float64).reshape(-1, 2)
    owners = [patients[case] for case in counts]
    return {
        "dice": _mean(list(per_case.values()), [patients[case] for case in per_case], seed),
        "drop": _mean(list(drops.values()), [patients[case] for case in drops], seed),
        "recall": {
            "mean": _ratio(pairs.sum(axis=0)),
            "ci95": interval_of(lambda weights: _ratios(weights @ pairs), owners, seed=seed),
            "n": len(pairs),
        },
        "false_positives": _mean(list(false.values()), [patients[case] for case in false], seed),
    }


def _drops(results: Results) -> dict[str, float]:
    """Case → its Dice as it is less its mean Dice under all corruptions."""
    corrupted = _per_case({one: found for one, found in results.items() if one != CLEAN}, _dice)
    clean = _per_case({CLEAN: results[CLEAN]}, _dice)
    return {case: clean[case] - corrupted[case] for case in clean if case in corrupted}


def _per_case(results: Results, figure: Callable[[CaseResult], float | None]) -> dict[str, float]:
    """Case → the mean of its figure over the conditions that define it."""
    found: dict[str, list[float]] = {}
    for own in results.values():
        for result in own:
            value = figure(result)
            if value is not None:
                found.setdefault(result.case, []).append(value)
    return {case: float(np.mean(values)) for case, values in found.items()}


def _patients(results: Results) -> dict[str, str]:
    return {result.case: result.patient for own in results.values() for result in own}


def _dice(result: CaseResult) -> float | None:
    return result.figures.get("dice")


def _mean(values: Sequence[float], patients: Sequence[str], seed: int) -> Figure:
    interval = interval_of_mean(values, patients, seed=seed) if values else None
    return {"mean": _average(values), "ci95": interval, "n": len(values)}


def _average(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _ratio(pair: NDArray[np.float64]) -> float | None:
    return float(pair[0] / pair[1]) if len(pair) and pair[1] else None


def _ratios(pairs: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(pairs[:, 0] / pairs[:, 1])
