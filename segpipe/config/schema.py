"""What a configuration may hold: every key, its type and its bounds; reports all mistakes at once.

Sections that choose a part (network, loss, …) are checked by `segpipe.parts`.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Interval, MinLen
from pydantic import BaseModel, ConfigDict, Discriminator, Strict, TypeAdapter, ValidationError

from segpipe.config.bounds import Flips, Overlap
from segpipe.parts import Registry
from segpipe.parts.checking import check_parts
from segpipe.validation import mistakes_in

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
    limit: Annotated[int, Strict(), Ge(1)] | Annotated[float, Interval(gt=0, lt=1)] | None = (
        None  # which the configurations of earlier runs lack
    )
    rehearsal: str | None = None  # likewise
    cache: str | None
    workers: Auto | Annotated[int, Ge(0)]
    schedule: ScheduleSettings


class PhantomData(DataSettings):
    """The generated thorax CTs."""

    name: Literal["phantom"]
    cases: Annotated[int, Ge(4)]
    phantom_seed: Annotated[int, Ge(0)]
    part_solid: bool
    sizes: Literal["large", "lidc"] = "large"  # which the configurations of earlier runs lack
    distractors: bool = False  # likewise


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


class ImplantedData(DataSettings):
    """Nodules of one data set in the lungs of another."""

    name: Literal["implanted"]
    hosts: str
    nodules: str
    table: str | None
    case_column: str
    patient_column: str
    copies: Positive
    per_scan: Positive
    healthy: Annotated[float, Interval(ge=0, lt=1)]
    implant_seed: Annotated[int, Ge(0)]


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
    keep_every: Positive | None
    log_every: Positive
    max_skipped_steps: Positive
    spike_factor: Annotated[float, Gt(1)] | None


class TrainerSettings(Section):
    """On what weights are learnt."""

    accelerator: Literal["auto", "cpu", "gpu", "mps"]
    devices: Auto | Positive
    nodes: Positive
    strategy: Literal["auto", "ddp", "fsdp"]
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"]
    max_steps: Positive
    requeue: bool
    workers: Auto | Annotated[int, Ge(0)]
    deterministic: bool
    compile: bool = False  # which the configurations of earlier runs lack
    progress: bool


class EvaluationSettings(Section):
    """How held-out cases are evaluated."""

    weights: Literal["last", "best"]
    overlap: Overlap
    flips: Flips
    tune_operating_point: bool
    overlays: Annotated[int, Ge(0)]
    membership: bool = False  # which the configurations of earlier runs lack


class Settings(Section):
    """The whole configuration; sections that rooms above define are checked by what these hand in."""

    name: Annotated[str, MinLen(1)]
    seed: Annotated[int, Ge(0)]
    resume: bool
    check: bool = False  # which the configurations of earlier runs lack
    recipe: Any
    training: TrainingSettings
    trainer: TrainerSettings
    sampling: Any
    evaluation: EvaluationSettings
    data: Annotated[PhantomData | NiftiData | ManifestData | ImplantedData, Discriminator("name")]
    augmentation: Any
    network: dict[str, Any]
    loss: dict[str, Any]
    optimizer: dict[str, Any]
    scheduler: dict[str, Any]
    tracking: dict[str, Any]
    module: dict[str, Any]
    callbacks: list[dict[str, Any]]
    init: Any = None  # which the configurations of earlier runs lack
    finetune: Any = None  # likewise
    mixing: dict[str, Any] | None = None  # likewise
    detector: Any = None  # of two stages; None: one
    privacy: Any = None  # of a private training, and no other
    pretraining: Any = None  # of a run that learns from scans without outlines
    study: Any = None  # of a study, and no other
    ratings: Any = None  # of a run that learns readers' ratings, and no other


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


def made_into(kind: type) -> SectionCheck:
    """The check of a section that is made into a pydantic dataclass, which says what its values must hold."""

    def check(section: str, config: Mapping[str, Any]) -> tuple[Any, list[str]]:
        try:
            return TypeAdapter(kind).validate_python(dict(config[section])), []
        except ValidationError as error:
            return config[section], mistakes_in(error, kind, section)

    return check


def _check(section: str, config: Mapping[str, Any], registry: Registry | SectionCheck) -> tuple[Any, list[str]]:
    """Checks a section: of parts, or one that has a check of its own."""
    if isinstance(registry, Registry):
        return check_parts(section, config, registry)
    if not isinstance(config[section], Mapping):
        return config[section], [f"{section}={config[section]!s:.80}: must be a section with keys"]
    return registry(section, config)
