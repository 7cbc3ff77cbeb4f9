"""A training's privacy in numbers, once it is known how many patients there are."""

import logging
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from segpipe.config.schema import Settings
from segpipe.errors import ConfigError
from segpipe.training.privacy.account import Account, find_noise
from segpipe.training.privacy.randomness import SecretNumbers
from segpipe.training.privacy.settings import DifferentialPrivacy

log = logging.getLogger(__name__)
_SHARE_OF_ONE_PATIENT = 0.1


@dataclass(frozen=True)
class PrivacyPlan:
    """What each step does.

    Args:
        patients: Of the training.
        patients_per_step: Of whom so many are drawn on average: each one with the same probability, of its own.
        patches_per_patient: Of each that is drawn.
        clip_norm: The longest gradient of a patient.
        noise_multiplier: Standard deviation of the noise of the sum over `clip_norm`.
        epsilon: What the training may spend; None: as much as its steps take.
        delta: Of ε.
        numbers: The draw of patients and the noise.
        randomness: Where these come from.
    """

    patients: int
    patients_per_step: int
    patches_per_patient: int
    clip_norm: float
    noise_multiplier: float
    epsilon: float | None
    delta: float
    numbers: SecretNumbers
    randomness: str

    @property
    def sampling_rate(self) -> float:
        """The probability that a patient is drawn for a step."""
        return self.patients_per_step / self.patients

    def affords_step(self, account: Account) -> bool:
        """Whether another step stays within what the training may spend."""
        return self.epsilon is None or account.affords(self.epsilon, self.noise_multiplier, self.sampling_rate)

    def describe(self, account: Account) -> dict[str, Any]:
        """What is spent by which training, as plain data for summaries, model card and checkpoints."""
        return {
            "unit": "patient",
            "epsilon": account.epsilon,
            "delta": self.delta,
            "accountant": f"RDP, Opacus {version('opacus')}",
            "noise_multiplier": self.noise_multiplier,
            "clip_norm": self.clip_norm,
            "sampling_rate": self.sampling_rate,
            "patients": self.patients,
            "patches_per_patient": self.patches_per_patient,
            "steps": account.steps,
            "randomness": self.randomness,
        }


def plan_privacy(settings: Settings, *, patients: int) -> PrivacyPlan:
    """Finds what the configuration leaves open.

    Args:
        settings: The checked configuration, with a section `privacy`.
        patients: Of the training.

    Raises:
        ConfigError: when a step takes more patients than there are, δ promises nothing, or no step stays within ε.
    """
    privacy: DifferentialPrivacy = settings.privacy
    drawn, delta = settings.training.batch_size, privacy.delta or _SHARE_OF_ONE_PATIENT / patients
    _check(drawn, delta, patients)
    noise, rate, steps = privacy.noise_multiplier, drawn / patients, settings.trainer.max_steps
    if noise is None:
        assert privacy.epsilon is not None
        noise = find_noise(privacy.epsilon, delta, sampling_rate=rate, steps=steps)
    log.info("privacy: noise multiplier %.3g, %d of %d patients a step on average", noise, drawn, patients)
    plan = PrivacyPlan(
        patients=patients,
        patients_per_step=drawn,
        patches_per_patient=privacy.patches_per_patient,
        clip_norm=privacy.clip_norm,
        noise_multiplier=noise,
        epsilon=privacy.epsilon,
        delta=delta,
        numbers=_numbers(privacy, settings.seed),
        randomness=privacy.randomness,
    )
    if not plan.affords_step(Account(delta)):
        raise ConfigError(
            "a single step with this noise spends more than privacy.epsilon",
            facts={"privacy.epsilon": privacy.epsilon, "privacy.noise_multiplier": noise, "sampling rate": rate},
            hint="privacy.noise_multiplier=null, which finds as much as all steps need",
        )
    return plan


def _numbers(privacy: DifferentialPrivacy, seed: int) -> SecretNumbers:
    if privacy.randomness == "system":
        return SecretNumbers.of_system()
    log.warning("privacy.randomness=seed: there is no guarantee against anybody who knows the seed")
    return SecretNumbers.of_seed(seed)


def _check(drawn: int, delta: float, patients: int) -> None:
    if drawn > patients:
        raise ConfigError(
            "a private step draws some of the training's patients, on average training.batch_size of them",
            facts={"training.batch_size": drawn, "training patients": patients},
            hint=f"training.batch_size={max(1, patients // 4)}",
        )
    if delta >= 1 / patients:
        raise ConfigError(
            "privacy.delta must be smaller than 1 over the patients: publishing one of them whole would satisfy it",
            facts={"privacy.delta": delta, "training patients": patients},
            hint=f"privacy.delta=null, which is {_SHARE_OF_ONE_PATIENT / patients:.2g} here",
        )
