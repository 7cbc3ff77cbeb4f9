"""A private training in numbers, for tests: ten patients, three of them in a step on average."""

from dataclasses import replace
from typing import Any

from segpipe.training.privacy.plan import PrivacyPlan
from segpipe.training.privacy.randomness import SecretNumbers

_PLAN = PrivacyPlan(
    patients=10,
    patients_per_step=3,
    patches_per_patient=1,
    clip_norm=1.0,
    noise_multiplier=2.0,
    epsilon=None,
    delta=0.01,
    numbers=SecretNumbers.of_seed(0),
    randomness="seed",
)


def make_plan(**changes: Any) -> PrivacyPlan:
    """The plan with some changes."""
    return replace(_PLAN, **changes)
