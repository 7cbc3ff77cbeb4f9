"""The index of a model folder, typed: the one place where what a folder says of itself becomes values to rely on."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Interval, Len, MaxLen, MinLen
from pydantic import BaseModel, ConfigDict, FiniteFloat, StringConstraints, ValidationError

from segpipe.config.bounds import OVERLAP
from segpipe.errors import ModelError
from segpipe.export.export_spec import FORMAT, INDEX
from segpipe.export.seen_cases import SeenGroup
from segpipe.export.shipped import shipped_models
from segpipe.export.signature import check_signature
from segpipe.export.writing import checksum
from segpipe.spelling import did_you_mean
from segpipe.system.files.plain_files import read_json
from segpipe.validation import mistakes_in

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

_WHERE = "give the folder `model` of a finished run, or one that the verb export wrote"
LONGEST_SIDE = 1024
"""Voxels; neither a divisor nor the size of a network's only input is longer."""
COPY_AGAIN = "copy the folder again from where it was made"
Share = Annotated[FiniteFloat, Interval(ge=0, le=1)]
Amount = Annotated[FiniteFloat, Interval(ge=0)]
Interval95 = Annotated[list[FiniteFloat | None], Len(2, 2)] | None
Side = Annotated[int, Interval(ge=1, le=LONGEST_SIDE)]
Sides = Annotated[list[Side], Len(3, 3)]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, MinLen(1), MaxLen(255)]


class _Typed(BaseModel):
    """Strict: a number is no text, and what is not named here is kept as it is."""

    model_config = ConfigDict(strict=True, frozen=True, extra="allow")


class FrocPoint(_Typed):
    """A point of the stored FROC curve."""

    threshold: FiniteFloat
    sensitivity: Share
    fp_per_scan: Amount


class StoredTemperature(_Typed):
    """What divides the log odds of a voxel."""

    temperature: Annotated[FiniteFloat, Interval(gt=0)]


class StoredSlope(_Typed):
    """From the log odds of a finding's mean probability to those of its being right."""

    slope: Amount
    intercept: FiniteFloat
    event: Name
    findings: int
    patients: int


class StoredReferral(_Typed):
    """Below which calibrated confidence a human should look, and what that came to."""

    below: Share
    share: Share
    dice_kept: Share | None = None
    dice_referred: Share | None = None


class StoredInterval(_Typed):
    """Between which parts of the found volume readers' volume lies, from a found volume on."""

    from_mm3: Amount
    low: Amount
    high: Amount
    findings: int
    patients: int


class StoredVolume(_Typed):
    """The intervals of volume."""

    coverage: Share
    classes: Annotated[list[StoredInterval], MinLen(1), MaxLen(20)]


class StoredConfidence(_Typed):
    """What is known of the model's confidence; docs/uncertainty.md."""

    origin: str
    voxels: StoredTemperature | None = None
    findings: StoredSlope | None = None
    refer: StoredReferral | None = None
    volume: StoredVolume | None = None


class StoredPoint(_Typed):
    """The stored operating point, of all classes or of one."""

    threshold: Annotated[FiniteFloat, Interval(gt=0, lt=1)] = 0.5
    min_volume_mm3: Amount = 0.0
    min_probability: Share = 0.0
    flips: Annotated[list[Literal[0, 1, 2]], MaxLen(3)] = []
    overlap: Annotated[FiniteFloat, Interval(ge=0, lt=1)] = OVERLAP
    froc: Annotated[list[FrocPoint], MaxLen(1000)] = []
    origin: str | None = None
    confidence: StoredConfidence | None = None
    classes: dict[str, "StoredPoint"] = {}


class Figure(_Typed):
    """A figure of the evaluation."""

    mean: FiniteFloat | None = None
    median: FiniteFloat | None = None
    ci95: Interval95 = None


class DetectionOfSize(_Typed):
    """The FROC of the lesions of one stratum of diameters."""

    lesions: int
    sensitivity_at_fp_per_scan: dict[str, Share | None]
    cpm: FiniteFloat | None = None
    cpm_ci95: Interval95 = None


class Detection(_Typed):
    """The FROC of the evaluation in a few numbers."""

    cpm: FiniteFloat | None = None
    cpm_ci95: Interval95 = None
    average_precision: FiniteFloat | None = None
    average_precision_ci95: Interval95 = None
    by_diameter: dict[str, DetectionOfSize] = {}


class Figures(_Typed):
    """The main figures of the evaluation."""

    cases: int | None = None
    patients: int | None = None
    metrics: dict[str, Figure] | None = None
    lesions: dict[str, Any] | None = None
    detection: Detection | None = None


class Fingerprint(_Typed):
    """What the evaluated scans measure and what was found in them, each quantity sorted for itself."""

    scans: Annotated[int, Interval(ge=0)]
    values: dict[Name, Annotated[list[FiniteFloat], MaxLen(10_000)]]


class TrainedSplit(_Typed):
    """How the cases were split; a split of another version may say less."""

    fold: Annotated[int, Interval(ge=0)] | Literal["all"] | None = None
    folds: Annotated[int, Interval(ge=2)] | None = None
    split_seed: Annotated[int, Interval(ge=0)] | None = None
    fractions: Annotated[list[Share], Len(3, 3)] | None = None


class TrainedBy(_Typed):
    """How the model was trained: sections of a configuration, which whoever takes them checks."""

    split: TrainedSplit = TrainedSplit()
    steps: Annotated[int, Interval(ge=1)] | None = None
    continued: bool = False


class Facts(_Typed):
    """What the model card says, as far as something reads it; other facts are listed as they are."""

    data: str | None = None
    data_hash: str | None = None
    source: str | None = None
    split: dict[str, int | str | None] | None = None
    figures: Figures | None = None
    fingerprint: Fingerprint | None = None
    seen_cases: Annotated[list[SeenGroup], MaxLen(1000)] | None = None
    trained_by: TrainedBy | None = None


class Network(_Typed):
    """What the network is built from: a name and keys, which whoever builds it checks."""

    name: Name


class Parity(_Typed):
    """How closely ONNX Runtime follows PyTorch, and on inputs of which shapes."""

    largest: FiniteFloat
    shapes: list[list[int]]


class OnnxFacts(_Typed):
    """What is known of the ONNX model."""

    fixed_shape: Sides | None = None
    parity: Parity


class Index(_Typed):
    """The content of `segpipe.json`."""

    recipe: dict[str, Any]
    recipe_digest: str
    network: Network
    divisor: Sides
    onnx: OnnxFacts
    operating_point: StoredPoint
    second_stage: dict[str, Any] | None = None
    facts: Facts
    files: dict[Name, Digest]
    checksum: Digest


def read_index(path: Path, *, key: "Ed25519PublicKey | None" = None) -> tuple[Index, dict[str, Any]]:
    """Reads the index of a model folder.

    Args:
        path: The model folder.
        key: Whose signature it must have, if anybody's.

    Returns:
        What it says, typed, and the same as plain data.

    Raises:
        ModelError: when there is none, it is of another format, changed, or says what it cannot mean.
    """
    file = path / INDEX
    content = read_content(path, wanted=FORMAT, hint=_WHERE, key=key)
    try:
        return Index.model_validate(content), content
    except ValidationError as error:
        mistakes = mistakes_in(error, Index)
        facts = {"file": file, **{str(number): line for number, line in enumerate(mistakes[:8], start=1)}}
        raise ModelError(f"{INDEX} is not valid", facts=facts, hint=COPY_AGAIN) from None


def read_content(path: Path, *, wanted: str, hint: str, key: "Ed25519PublicKey | None" = None) -> dict[str, Any]:
    """What the index of a model folder says, as plain data.

    Args:
        path: The model folder.
        wanted: Its format.
        hint: Where such folders are found.
        key: Whose signature it must have, if anybody's.

    Raises:
        ModelError: when there is none, it is of another format, was changed, or is not signed by this key.
    """
    file = path / INDEX
    content = _content(file, wanted, hint)
    if content.get("checksum") != checksum(content):
        raise ModelError(
            "a file of the model folder was changed",
            facts={"file": file, "found": "content that does not have its checksum"},
            hint=COPY_AGAIN,
        )
    if key is not None:
        check_signature(path, content, key)
    return content


def _content(file: Path, wanted: str, hint: str) -> dict[str, Any]:
    if not file.parent.exists():
        known = shipped_models()
        facts = {"model": file.parent, "shipped": ", ".join(known) or "none"}
        place = "give the folder `model` of a finished run, or the name of a shipped model"
        raise ModelError(f"there is no such model{did_you_mean(file.parent.name, known)}", facts=facts, hint=place)
    if not file.is_file():
        raise ModelError(f"a model folder must hold {INDEX}", facts={"folder": file.parent}, hint=hint)
    try:
        content = read_json(file)
        json.dumps(content, allow_nan=False)
    except (OSError, ValueError) as error:
        raise ModelError(f"{INDEX} is not readable JSON", facts={"file": file, "found": error}) from error
    if not isinstance(content, dict) or content.get("format") != wanted:
        found = content.get("format") if isinstance(content, dict) else type(content).__name__
        raise ModelError(
            "the model folder has another format",
            facts={"file": file, "found": found, "known": wanted},
            hint="use the version of segpipe that wrote it, or export the run again",
        )
    return content
