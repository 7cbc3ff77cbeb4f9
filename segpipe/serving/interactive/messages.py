"""What travels between viewer and service; FastAPI makes the OpenAPI page of it. All positions are RAS+ mm."""

import base64
import gzip
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FiniteFloat

from segpipe.errors import SegpipeError
from segpipe.geometry import Grid
from segpipe.inference.loaded_model import LoadedModel
from segpipe.io.pacs.address import UID
from segpipe.serving.interactive.session import MOST_POINTS, Answer, Session, Step


def check_uid(text: str) -> str:
    """A UID as it is.

    Raises:
        ValueError: when it is none; it is not quoted.
    """
    if not UID.fullmatch(text):
        raise ValueError("no DICOM UID")
    return text


Position = tuple[FiniteFloat, FiniteFloat, FiniteFloat]
Positions = Annotated[list[Position], Field(max_length=MOST_POINTS)]
Uid = Annotated[str, AfterValidator(check_uid)]


class Message(BaseModel):
    """A message without surprises: a field that it does not know is a mistake."""

    model_config = ConfigDict(extra="forbid")


class PathToOpen(Message):
    """A scan below the service's root: an image file, or a folder or zip file with one DICOM series."""

    path: str


class SeriesToOpen(Message):
    """A series of the service's PACS."""

    study: Uid
    series: Uid


class PromptStep(Message):
    """What the reader says now; it adds to what was said before, and a box or a line replaces an earlier one."""

    positives: Positions = []
    negatives: Positions = []
    box: tuple[Position, Position] | None = None
    line: tuple[Position, Position] | None = None

    def to_step(self) -> Step:
        """The same for a session."""
        return Step(tuple(self.positives), tuple(self.negatives), self.box, self.line)


class GridMessage(Message):
    """A grid of voxels: the affine maps voxel indices to RAS+ mm."""

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    origin_mm: tuple[float, float, float]
    affine_ras_mm: list[list[float]]

    @classmethod
    def of(cls, grid: Grid) -> "GridMessage":
        """The message for a grid."""
        x, y, z = grid.affine[:3, 3].tolist()
        return cls(
            shape=grid.shape, spacing_mm=grid.spacing_mm, origin_mm=(x, y, z), affine_ras_mm=grid.affine.tolist()
        )


class MaskMessage(Message):
    """The mask of the part of the scan that was looked at; nothing is marked elsewhere."""

    grid: GridMessage
    start: tuple[int, int, int] = Field(description="index of its first voxel in the scan")
    voxels: str = Field(description="base64 of gzip of one byte per voxel, the last axis fastest")


class OpenedMessage(Message):
    """An open scan."""

    session: str
    grid: GridMessage
    closes_after_s: float = Field(description="without a call")


class AnswerMessage(Message):
    """The lesion as everything said so far describes it."""

    steps: int
    prompt: dict[str, Any] = Field(description="all that was said")
    findings: list[dict[str, Any]] = Field(description="measurements, as `predict` writes them")
    mask: MaskMessage | None = Field(description="none when nothing is said")

    @classmethod
    def of(cls, answer: Answer | None) -> "AnswerMessage":
        """The message for an answer; None when nothing is said."""
        if answer is None:
            return cls(steps=0, prompt={}, findings=[], mask=None)
        packed = base64.b64encode(gzip.compress(answer.mask.tobytes(), compresslevel=1, mtime=0)).decode()
        mask = MaskMessage(grid=GridMessage.of(answer.grid), start=answer.start, voxels=packed)
        return cls(steps=answer.steps, prompt=answer.prompt.to_dict(), findings=answer.findings, mask=mask)


class ServiceMessage(Message):
    """The service and its model."""

    status: str = "ok"
    model: str
    labels: list[str]
    spacing_mm: tuple[float, float, float]
    window: tuple[int, int, int]
    sessions: int

    @classmethod
    def of(cls, model: LoadedModel, sessions: int) -> "ServiceMessage":
        """The message for a model and so many open sessions."""
        recipe = model.folder.recipe
        labels = [label.name for label in recipe.label_map.classes]
        return cls(
            model=recipe.name, labels=labels, spacing_mm=recipe.spacing_mm, window=recipe.patch, sessions=sessions
        )


class ErrorMessage(Message):
    """What must hold, what was found, and what to try."""

    error: str
    message: str
    facts: dict[str, str] = {}
    hint: str | None = None

    @classmethod
    def of(cls, error: SegpipeError) -> "ErrorMessage":
        """The message for an error."""
        facts = {name: str(value) for name, value in error.facts.items()}
        return cls(error=type(error).__name__, message=error.message, facts=facts, hint=error.hint)


def opened(name: str, session: Session, closes_after_s: float) -> OpenedMessage:
    """The message for a session that has just been opened."""
    return OpenedMessage(session=name, grid=GridMessage.of(session.case.grid), closes_after_s=closes_after_s)
