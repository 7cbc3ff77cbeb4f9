"""Figures by kind of lesion: by diameter, and where readers rated the nodule by texture and malignancy."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.evaluation.bootstrap import interval_of_mean
from segpipe.evaluation.results import CaseResult, ReferenceLesion
from segpipe.geometry import FloatArray

DIAMETERS_MM = ((0.0, 6.0, "under 6 mm"), (6.0, 8.0, "6-8 mm"), (8.0, 15.0, "8-15 mm"), (15.0, np.inf, "over 15 mm"))
RATINGS = {
    "texture": ("ground glass", "part-solid", "solid"),
    "malignancy": ("unlikely", "indeterminate", "suspicious"),
}
Name = Callable[[ReferenceLesion, CaseResult], str | None]


def stratify(results: Sequence[CaseResult], *, seed: int = 0) -> dict[str, Any]:
    """Lesions of the reference by stratum: how many, how many found, sensitivity, and their mean Dice.

    A lesion's Dice is that with its counterpart, 0 when it was missed; a sphere has none. Diameters are the longest
    ones of the reference mask. A rating belongs to a case (`extra`): readers' numbers of 1 to 5 are read as low (under
    2.5), middle and high (from 3.5), words are taken as they are; it counts only in cases with a single lesion.
    """
    strata = {"diameter": _by(results, lambda lesion, _: diameter_stratum(lesion.diameter_mm), seed)}
    strata |= {rating: found for rating in RATINGS if (found := _by(results, _rated(rating), seed))}
    return {kind: dict(sorted(found.items(), key=lambda item: rank(kind, item[0]))) for kind, found in strata.items()}


def diameter_stratum(diameter_mm: float) -> str:
    """The stratum of a diameter; lower limits belong to it.

    >>> diameter_stratum(6.0)
    '6-8 mm'
    """
    return DIAMETERS_MM[int(diameter_indices([diameter_mm])[0])][2]


def diameter_indices(diameters_mm: Sequence[float] | FloatArray) -> NDArray[np.int64]:
    """Index of the stratum of each diameter in `DIAMETERS_MM`.

    >>> diameter_indices([3.0, 6.0, 7.9, 20.0]).tolist()
    [0, 1, 1, 3]
    """
    lower_limits = [low for low, *_ in DIAMETERS_MM[1:]]
    return np.asarray(np.searchsorted(lower_limits, diameters_mm, side="right"), dtype=np.int64)


def rating_stratum(rating: str, value: object) -> str | None:
    """The stratum of a reader's rating; None when there is none.

    >>> rating_stratum("texture", 4.5)
    'solid'
    """
    if isinstance(value, str) and value.strip():
        return value.strip()
    if isinstance(value, int | float) and not isinstance(value, bool) and np.isfinite(value):
        low, middle, high = RATINGS[rating]
        return low if value < 2.5 else middle if value < 3.5 else high
    return None


def rank(kind: str, stratum: str) -> tuple[int, int, str]:
    """Sorts strata as one reads them: small to large, faint to solid, harmless to suspicious; other words follow."""
    orders = {"diameter": tuple(name for *_, name in DIAMETERS_MM), **RATINGS}
    order = orders[kind]
    return list(orders).index(kind), order.index(stratum) if stratum in order else len(order), stratum


def _rated(rating: str) -> Name:
    def name(_: ReferenceLesion, result: CaseResult) -> str | None:
        return rating_stratum(rating, (result.extra or {}).get(rating)) if len(result.lesions) == 1 else None

    return name


def _by(results: Sequence[CaseResult], name: Name, seed: int) -> dict[str, Any]:
    groups: dict[str, list[tuple[ReferenceLesion, str]]] = {}
    for result in results:
        for lesion in result.lesions:
            stratum = name(lesion, result)
            if stratum is not None:
                groups.setdefault(stratum, []).append((lesion, result.patient))
    return {stratum: _figures(members, seed) for stratum, members in groups.items()}


def _figures(members: Sequence[tuple[ReferenceLesion, str]], seed: int) -> dict[str, Any]:
    patients = [patient for _, patient in members]
    found = [float(lesion.matched is not None) for lesion, _ in members]
    alike = [(lesion.overlap, patient) for lesion, patient in members if lesion.overlap is not None]
    dice = [2 * overlap / (1 + overlap) for overlap, _ in alike]
    return {
        "lesions": len(members),
        "found": int(sum(found)),
        "sensitivity": float(np.mean(found)),
        "sensitivity_ci95": _plain(interval_of_mean(found, patients, seed=seed)),
        "dice": float(np.mean(dice)) if dice else None,
        "dice_ci95": _plain(interval_of_mean(dice, [patient for _, patient in alike], seed=seed)),
    }


def _plain(interval: tuple[float, float] | None) -> list[float] | None:
    return list(interval) if interval else None
