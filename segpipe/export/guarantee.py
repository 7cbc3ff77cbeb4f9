"""What a training promises its patients, in words: the same on the model card and on the report's page."""

from collections.abc import Mapping
from math import ceil
from typing import Any

PRIVACY = "privacy"
"""Where summaries, model cards and checkpoints have it."""


def guarantee(known: Mapping[str, Any] | None) -> list[str]:
    """Sentences on what was spent of the patients' privacy; none where nothing was promised.

    Args:
        known: `privacy` of a summary; see `PrivacyPlan.describe`.
    """
    if not known:
        return []
    drawn = f"each patient in a step with probability {_number(known.get('sampling_rate'))}"
    how = (
        f"noise multiplier {_number(known.get('noise_multiplier'))}, clip norm {_number(known.get('clip_norm'))}, "
        f"{known.get('steps', '?')} steps, {drawn}, {known.get('patients', '?')} patients"
    )
    accountant = str(known.get("accountant", "an unknown")).partition(",")[0]
    lines = [
        f"Trained with differential privacy: ε = {_rounded_up(known.get('epsilon'))} at δ = "
        f"{_number(known.get('delta'))} per patient of the training, by Opacus's {accountant} accountant, for the "
        f"weights ({how}).",
        "Figures, pictures and digests of the data are not covered, be they of held-out or of training cases; the "
        "choice of hyper-parameters is not counted, and weights that the training began with count as public.",
    ]
    if known.get("randomness") != "system":
        lines.insert(1, "The noise is of the run's seed: there is no guarantee against anybody who knows the seed.")
    return lines


def _rounded_up(value: Any) -> str:
    return f"{ceil(value * 100) / 100:.2f}" if isinstance(value, int | float) else "unknown"


def _number(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, int | float) else "unknown"
