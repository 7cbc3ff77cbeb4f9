"""What a configuration may hold: every key, its type and its bounds; tells all mistakes at once.

Sections that choose a part by name (network, loss, …) are checked against the signature of that part's builder: its
keyword-only parameters are the keys.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, get_type_hints

from annotated_types import Ge, Gt, Interval, Le, MinLen
from pydantic import BaseModel, ConfigDict, Discriminator, ValidationError, create_model

from segpipe.errors import ConfigError
from segpipe.spelling import nearest

Registry = Mapping[str, Callable[..., Any]]
Positive = Annotated[int, Gt(0)]
Fraction = Annotated[float, Interval(ge=0, le=1)]
Auto = Literal["auto"]


class Section(BaseModel):
    """A part of the configuration; unknown keys are mistakes."""

    model_config = ConfigDict(extra="forbid", strict=False)


class RecipeSettings(Section):
    """See `segpipe.preprocessing.recipe.Recipe`."""

    name: Annotated[str, MinLen(1)]
    scope: Literal["scan", "voi"]
    orientation: str
    spacing_mm: tuple[Annotated[float, Gt(0)], Annotated[float, Gt(0)], Annotated[float, Gt(0)]]
    window_hu: tuple[float, float]
    patch: tuple[Positive, Positive, Positive]
    label: Literal["nodule", "tumour"]
    lung_crop: bool


class ScheduleSettings(Section):
    """How long a data set is trained on, unless `trainer.max_steps` says otherwise."""

    max_steps: Positive
    validate_every: Positive


class DataSettings(Section):
    """What every data set's settings have: the split by patient, the cache and the schedule."""

    fold: Annotated[int, Ge(0)] | Literal["all"] | None
    folds: Annotated[int, Ge(2)]
    split_seed: Annotated[int, Ge(0)]
    fractions: tuple[Fraction, Fraction, Fraction]
    cache: str | None
    workers: Auto | Annotated[int, Ge(0)]
    schedule: ScheduleSettings


class PhantomData(DataSettings):
    """The generated thorax CTs."""

    name: Literal["phantom"]
    cases: Annotated[int, Ge(4)]
    phantom_seed: Annotated[int, Ge(0)]


class NiftiData(DataSettings):
    """Folders of scans and masks."""

    name: Literal["nifti"]
    root: str
    table: str | None
    case_column: str
    patient_column: str


class ManifestData(DataSettings):
    """A data set with a manifest."""

    name: Literal["manifest"]
    root: str


class TrainingSettings(Section):
    """How weights are learnt."""

    batch_size: Positive
    accumulate: Positive
    clip_norm: Annotated[float, Gt(0)] | None
    clip_value: Annotated[float, Gt(0)] | None
    ema: Annotated[float, Interval(gt=0, lt=1)] | None
    early_stopping: Positive | None
    validate_every: Positive
    validation_patches: Positive
    checkpoint_every: Positive
    log_every: Positive


class TrainerSettings(Section):
    """On what weights are learnt."""

    accelerator: Literal["auto", "cpu", "gpu", "mps"]
    devices: Auto | Positive
    nodes: Positive
    strategy: Literal["auto", "ddp"]
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"]
    max_steps: Positive
    workers: Auto | Annotated[int, Ge(0)]
    deterministic: bool
    progress: bool


class SamplingSettings(Section):
    """Where training patches are read."""

    lesion_fraction: Fraction
    shift: Annotated[float, Interval(ge=0, le=0.5)]
    size_balance: Fraction


class EvaluationSettings(Section):
    """How held-out cases are judged."""

    weights: Literal["last", "best"]
    overlap: Annotated[float, Interval(ge=0, lt=1)]
    flips: list[Annotated[int, Ge(0), Le(2)]]
    tune_operating_point: bool
    overlays: Annotated[int, Ge(0)]


class Settings(Section):
    """The whole configuration; the sections that choose a part by name are checked by `check_part`."""

    name: Annotated[str, MinLen(1)]
    seed: Annotated[int, Ge(0)]
    resume: bool
    recipe: RecipeSettings
    training: TrainingSettings
    trainer: TrainerSettings
    sampling: SamplingSettings
    evaluation: EvaluationSettings
    data: Annotated[PhantomData | NiftiData | ManifestData, Discriminator("name")]
    augmentation: dict[str, Any]
    network: dict[str, Any]
    loss: dict[str, Any]
    optimizer: dict[str, Any]
    scheduler: dict[str, Any]
    tracking: dict[str, Any]


def check_settings(config: Mapping[str, Any], registries: Mapping[str, Registry]) -> tuple[Settings | None, list[str]]:
    """Checks a plain configuration against the schema and the builders' signatures.

    Args:
        config: Resolved plain data.
        registries: Section → name → builder.

    Returns:
        The settings (None when there are mistakes) and the mistakes, one line each.
    """
    mistakes: list[str] = []
    settings: Settings | None = None
    checked = dict(config)
    for section, registry in registries.items():
        if isinstance(config.get(section), Mapping):
            checked[section], found = check_part(section, config[section], registry)
            mistakes += found
    try:
        settings = Settings.model_validate(checked)
    except ValidationError as error:
        mistakes += [_mistake(item, Settings) for item in error.errors()]
    return (None if mistakes else settings), mistakes


def check_part(section: str, values: Mapping[str, Any], registry: Registry) -> tuple[dict[str, Any], list[str]]:
    """Checks one part, e.g. the network, against its builder's keyword-only parameters."""
    name = str(values.get("name"))
    if name not in registry:
        near = nearest(name, registry)
        return dict(values), [
            f"{section}.name={name}: must be one of {', '.join(registry)}" + (f"; did you mean {near}?" if near else "")
        ]
    model = builder_model(registry[name])
    try:
        part = model.model_validate({key: value for key, value in values.items() if key != "name"})
    except ValidationError as error:
        return dict(values), [_mistake(item, model, section) for item in error.errors()]
    return {"name": name, **part.model_dump()}, []


def builder_model(builder: Callable[..., Any]) -> type[BaseModel]:
    """The keys of a builder as a pydantic model: one field for each keyword-only parameter."""
    hints = get_type_hints(builder, include_extras=True)
    fields: dict[str, Any] = {
        name: (hints[name], ... if parameter.default is inspect.Parameter.empty else parameter.default)
        for name, parameter in inspect.signature(builder).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }
    return create_model("Part", __config__=ConfigDict(extra="forbid"), **fields)


def raise_mistakes(mistakes: list[str], *, show: str = "python -m segpipe --cfg job") -> None:
    """Raises one ConfigError that lists all mistakes; returns quietly when there are none.

    Args:
        mistakes: One line each.
        show: The command that shows the configuration that was meant.

    Raises:
        ConfigError: with one line for each mistake.
    """
    if mistakes:
        count = "a mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
        unique = list(dict.fromkeys(mistakes))
        raise ConfigError(
            f"the configuration has {count}",
            facts={str(number): line for number, line in enumerate(unique, start=1)},
            hint=f"{show}   shows every key and its value",
        )


def _mistake(item: Any, model: type[BaseModel], section: str = "") -> str:
    path = ".".join([section, *_keys(item["loc"])]).strip(".")
    if item["type"] == "extra_forbidden":
        known = _fields_at(model, item["loc"][:-1])
        near = nearest(str(item["loc"][-1]), known)
        return f"{path}: no such key; allowed: {', '.join(known)}" + (f"; did you mean {near}?" if near else "")
    if item["type"] == "missing":
        return f"{path}: must be given"
    text = f"{path}={item['input']!s:.80}: {item['msg'][:1].lower()}{item['msg'][1:]}"
    allowed = str(item.get("ctx", {}).get("expected", ""))
    near = nearest(str(item["input"]), [word.strip("' ") for word in allowed.replace(" or ", ",").split(",")])
    return text + (f"; did you mean {near}?" if near else "")


def _keys(location: tuple[Any, ...]) -> list[str]:
    """Drops the names of union members, which pydantic puts into a location behind the field's name."""
    noise = ("literal[", "constrained-", "int", "float", "str", "bool", "none", "list[", "tuple[", "function-")
    return [str(key) for key in location if not (isinstance(key, str) and key.lower().startswith(noise))]


def _fields_at(model: type[BaseModel], location: tuple[Any, ...]) -> list[str]:
    current: Any = model
    for key in location:
        current = current.model_fields[key].annotation
    return list(current.model_fields)
