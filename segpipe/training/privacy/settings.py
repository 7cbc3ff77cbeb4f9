"""What a run may be told of privacy: the section `privacy` of its configuration, and what does not go with it."""

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import Annotated, Any, Literal, Self

import torch
from annotated_types import Ge, Gt, Interval
from pydantic import ConfigDict, FiniteFloat, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass
from torch.nn.modules.batchnorm import _NormBase

from segpipe.errors import SegpipeError
from segpipe.networks import build_network
from segpipe.spelling import did_you_mean, no_such_key
from segpipe.validation import mistakes_in

_NAMES = ("none", "dp")
_ALONE: dict[str, tuple[Any, str]] = {
    "training.clip_norm": (None, "the sum of clipped and noisy gradients is not clipped again"),
    "training.clip_value": (None, "the sum of clipped and noisy gradients is not clipped again"),
    "training.accumulate": (1, "a step takes its patients one after the other, so it needs no more memory"),
    "trainer.nodes": (1, "patients are drawn by one process"),
    "module": ({"name": "segmentation"}, "gradients are clipped and made noisy by a module of its own"),
    "callbacks": ([], "what foreign callbacks do with the weights or the data is not known"),
    "mixing": ({"name": "none"}, "what is learnt of one patient must not depend on another"),
    "sampling.hard_negatives": (0.0, "whether a patient's mistakes are shown depends on those of others"),
    "detector": (None, "a second stage would learn from the same patients without any noise"),
    "data.rehearsal": (None, "a patient of both data sets would count as two"),
    "pretraining": (None, "only segmentation is trained privately"),
    "ratings": (None, "only segmentation is trained privately"),
    "check": (False, "a few cases are not the patients that noise and rate are found for"),
}
"""Keys that must have one value, and why."""
_OPTIONS = {
    "detector": "detector=one_stage",
    "callbacks": "callbacks=[]",
    "mixing": "mixing=none",
    "module": "module.name=segmentation",
}
"""How it is given on the command line where the key is not set alone."""


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class DifferentialPrivacy:
    """How a training is kept private; the section `privacy` of the configuration.

    Args:
        name: Of the option.
        epsilon: The training ends before the step that would exceed it; None: there is no such bound.
        delta: The probability that it does not hold; None: a tenth of 1 over the number of training patients.
        noise_multiplier: Standard deviation of the noise over `clip_norm`; None finds it for `epsilon`.
        clip_norm: The longest gradient that a patient contributes to a step.
        patches_per_patient: Patches whose mean loss gives a patient's gradient.
        randomness: Where noise and the draw of patients come from.
    """

    name: Literal["dp"]
    epsilon: Annotated[FiniteFloat, Gt(0)] | None
    delta: Annotated[FiniteFloat, Interval(gt=0, lt=1)] | None
    noise_multiplier: Annotated[FiniteFloat, Gt(0)] | None
    clip_norm: Annotated[FiniteFloat, Gt(0)]
    patches_per_patient: Annotated[int, Ge(1)]
    randomness: Literal["system", "seed"]

    @model_validator(mode="after")
    def _check_noise(self) -> Self:
        if self.epsilon is None and self.noise_multiplier is None:
            raise ValueError("must say how much noise there is: epsilon=8.0, noise_multiplier=1.0 or both")
        return self


def check_privacy(section: str, config: Mapping[str, Any]) -> tuple[DifferentialPrivacy | None, list[str]]:
    """Makes the section: None for a training without a guarantee."""
    given = config[section]
    name = given.get("name")
    if name not in _NAMES:
        return None, [
            f"{section}.name={name!s:.80}: must be one of {', '.join(_NAMES)}{did_you_mean(str(name), _NAMES)}"
        ]
    if name == "none":
        return None, [f"{section}.{key}: {no_such_key(key, ['name'])}" for key in given if key != "name"]
    try:
        made = TypeAdapter(DifferentialPrivacy).validate_python(dict(given))
    except ValidationError as error:
        return None, mistakes_in(error, DifferentialPrivacy, section)
    return made, [f"{section}=dp: {mistake}" for mistake in _unfit(config)]


def _unfit(config: Mapping[str, Any]) -> Iterator[str]:
    """What else of a configuration does not go with it."""
    if find_spec("opacus") is None:
        yield "needs Opacus, which counts what is spent; pip install 'segpipe[privacy]'"
    for key, (wanted, reason) in _ALONE.items():
        if _at(config, key, wanted) != wanted:
            yield f"{reason}; {_OPTIONS.get(key, f'{key}={_word(wanted)}')}"
    yield from _unfit_trainer(config.get("trainer") or {})
    yield from _unfit_data(config.get("data") or {})
    yield from _learnt_statistics(config)


def _unfit_trainer(trainer: Mapping[str, Any]) -> Iterator[str]:
    if trainer.get("strategy") in ("ddp", "fsdp") or trainer.get("devices") not in ("auto", 1):
        yield "patients are drawn by one process; trainer.strategy=auto trainer.devices=1"
    if trainer.get("precision") == "16-mixed":
        yield "the scale of 16-mixed is found by steps that are skipped; trainer.precision=bf16-mixed or 32-true"


def _unfit_data(data: Mapping[str, Any]) -> Iterator[str]:
    if data.get("fold") == "all":
        yield "the folds share their patients, whose ε would add up; data.fold=0"
    if data.get("name") == "implanted":
        yield "an implanted scan is of two patients; another data set, e.g. data=nifti"


def _learnt_statistics(config: Mapping[str, Any]) -> Iterator[str]:
    """Norms that keep running means of their input, which no noise hides."""
    recipe: Any = config.get("recipe")
    try:
        with torch.random.fork_rng(devices=[]):
            network = build_network(config["network"], out_channels=recipe.label_map.channels)
    except (SegpipeError, AttributeError, KeyError):
        return  # network or recipe have mistakes of their own
    kinds = {type(layer).__name__ for layer in network.modules() if _keeps_statistics(layer)}
    if kinds:
        what = ", ".join(sorted(kinds))
        yield f"{what} keeps means of all patients' scans without noise; network.norm=instance or network.norm=group"


def _keeps_statistics(layer: torch.nn.Module) -> bool:
    return isinstance(layer, _NormBase) and layer.track_running_stats


def _at(config: Mapping[str, Any], key: str, default: Any) -> Any:
    """The value at a key, where some sections are made into objects already."""
    found: Any = config
    for name in key.split("."):
        found = found.get(name, default) if isinstance(found, Mapping) else getattr(found, name, default)
    return found


def _word(value: Any) -> str:
    return "null" if value is None else str(value).lower()
