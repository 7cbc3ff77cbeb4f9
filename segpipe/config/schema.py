"""What a configuration may hold: every key, its type and its bounds; reports all mistakes at once.

Sections that choose a part by name (network, loss, …) are checked against the signature of that part's builder: its
keyword-only parameters are the keys.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, get_type_hints

from annotated_types import Ge, Gt, Interval, MinLen
from pydantic import BaseModel, ConfigDict, Discriminator, TypeAdapter, ValidationError, create_model

from segpipe.config.bounds import Flips, Overlap
from segpipe.config.mistakes import mistakes_in
from segpipe.errors import ConfigError
from segpipe.parts import TARGET, Registry, target_mistakes
from segpipe.parts.building import summary_of
from segpipe.parts.targets import argument_mistakes
from segpipe.spelling import did_you_mean

Positive = Annotated[int, Gt(0)]
Fraction = Annotated[float, Interval(ge=0, le=1)]
Auto = Literal["auto"]
SectionCheck = Callable[[str, Mapping[str, Any]], tuple[Any, list[str]]]


class Section(BaseModel):
    """A part of the configuration; unknown keys are mistakes."""

    model_config = ConfigDict(extra="forbid", strict=False)


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
    part_solid: bool


class NiftiData(DataSettings):
    """Folders of scans and masks."""

    name: Literal["nifti"]
    root: str
    table: str | None
    case_column: str
    patient_column: str
    labels: dict[Annotated[int, Interval(ge=1, le=255)], Annotated[str, MinLen(1)]] | None


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
    max_skipped_steps: Positive


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


class EvaluationSettings(Section):
    """How held-out cases are evaluated."""

    weights: Literal["last", "best"]
    overlap: Overlap
    flips: Flips
    tune_operating_point: bool
    overlays: Annotated[int, Ge(0)]


class Settings(Section):
    """The whole configuration; sections that rooms above define are checked by what these hand in."""

    name: Annotated[str, MinLen(1)]
    seed: Annotated[int, Ge(0)]
    resume: bool
    recipe: Any
    training: TrainingSettings
    trainer: TrainerSettings
    sampling: Any
    evaluation: EvaluationSettings
    data: Annotated[PhantomData | NiftiData | ManifestData, Discriminator("name")]
    augmentation: Any
    network: dict[str, Any]
    loss: dict[str, Any]
    optimizer: dict[str, Any]
    scheduler: dict[str, Any]
    tracking: dict[str, Any]
    module: dict[str, Any]
    callbacks: list[dict[str, Any]]


def check_settings(
    config: Mapping[str, Any], registries: Mapping[str, Registry | SectionCheck]
) -> tuple[Settings | None, list[str]]:
    """Checks a plain configuration against the schema, the builders' signatures and the classes of sections.

    Args:
        config: Resolved plain data.
        registries: Section → name → builder, or section → what makes it and says its mistakes, given the section's
            name and the configuration, in which the sections before it are made already.

    Returns:
        The settings (None when there are mistakes) and the mistakes, one line each.
    """
    mistakes: list[str] = []
    settings: Settings | None = None
    checked = dict(config)
    for section, registry in registries.items():
        if section in config:
            checked[section], found = _check(section, checked, registry)
            mistakes += found
    try:
        settings = Settings.model_validate(checked)
    except ValidationError as error:
        mistakes += mistakes_in(error, Settings)
    return (None if mistakes else settings), mistakes


def _check(section: str, config: Mapping[str, Any], registry: Registry | SectionCheck) -> tuple[Any, list[str]]:
    """Checks a section: a part, a list of parts, or one that has a check of its own."""
    values = config[section]
    if isinstance(values, list) and isinstance(registry, Registry):
        items = [item if isinstance(item, Mapping) else {} for item in values]
        found = [check_part(f"{section}.{number}", item, registry, config) for number, item in enumerate(items)]
        return [part for part, _ in found], [mistake for _, mistakes in found for mistake in mistakes]
    if isinstance(registry, Registry):
        return check_part(section, values, registry, config) if isinstance(values, Mapping) else (values, [])
    if not isinstance(values, Mapping):
        return values, [f"{section}={values!s:.80}: must be a section with keys"]
    return registry(section, config)


def check_part(
    path: str, values: Mapping[str, Any], registry: Registry, config: Mapping[str, Any]
) -> tuple[dict[str, Any], list[str]]:
    """Checks one part, e.g. the network, against the signature of what builds it.

    Shipped parts have typed keys with bounds; of others the names of the keys are compared. Then the part is tried.

    Args:
        path: Of the section, e.g. `network` or `callbacks.0`.
        values: The section as plain data.
        registry: The parts of this kind.
        config: The whole configuration, for the trial; the sections before this one are checked already.
    """
    part = dict(values)
    if TARGET in values:
        mistakes = target_mistakes(path, values, registry.given)
    elif str(values.get("name")) in registry.shipped:
        part, mistakes = check_shipped(path, values, registry.shipped[str(values["name"])])
    else:
        mistakes = _plug_in_mistakes(path, values, registry)
    if not mistakes and registry.trial:
        mistakes = [f"{path}: {mistake}" for mistake in registry.trial(part, config)]
    return part, mistakes


def _plug_in_mistakes(path: str, values: Mapping[str, Any], registry: Registry) -> list[str]:
    name = str(values.get("name"))
    if name not in registry:
        if not len(registry):
            return [f"{path}.{TARGET}: must be given; no installed package registers a name ({registry.group})"]
        allowed = f"must be one of {', '.join(registry)}, or {path}.{TARGET} be given"
        return [f"{path}.name={name}: {allowed}{did_you_mean(name, registry)}"]
    try:
        builder = registry[name]
    except ConfigError as error:
        return [f"{path}.name={name}: {summary_of(error)}"]
    return argument_mistakes(path, builder, [key for key in values if key != "name"], registry.given)


def check_shipped(
    section: str, values: Mapping[str, Any], builder: Callable[..., Any]
) -> tuple[dict[str, Any], list[str]]:
    """Checks a part that segpipe ships: the typed values, and the mistakes.

    Args:
        section: Its path in messages.
        values: Its name and keys.
        builder: What builds it.
    """
    model = builder_model(builder)
    try:
        part = model.model_validate({key: value for key, value in values.items() if key != "name"})
    except ValidationError as error:
        return dict(values), mistakes_in(error, model, section)
    return {"name": values["name"], **part.model_dump()}, []


def made_into(kind: type) -> SectionCheck:
    """The check of a section that is made into a pydantic dataclass, which says what its values must hold."""

    def check(section: str, config: Mapping[str, Any]) -> tuple[Any, list[str]]:
        try:
            return TypeAdapter(kind).validate_python(dict(config[section])), []
        except ValidationError as error:
            return config[section], mistakes_in(error, kind, section)

    return check


def builder_model(builder: Callable[..., Any]) -> type[BaseModel]:
    """The keys of a builder as a pydantic model: one field for each keyword-only parameter."""
    hints = get_type_hints(builder, include_extras=True)
    fields: dict[str, Any] = {
        name: (hints[name], ... if parameter.default is inspect.Parameter.empty else parameter.default)
        for name, parameter in inspect.signature(builder).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }
    return create_model("Part", __config__=ConfigDict(extra="forbid"), **fields)
