"""A rating that readers would probably give a finding, and how sure that is."""

from dataclasses import dataclass


@dataclass(frozen=True)
class PredictedRating:
    """One predicted rating.

    Args:
        grade: The median grade, as the scale counts: 1 to 5, or 0 and 1.
        name: What that grade means; empty for one that lies between two that have names.
        mean: The expected grade.
        confidence: The calibrated probability that a reader gives this grade.
    """

    grade: int
    name: str
    mean: float
    confidence: float
