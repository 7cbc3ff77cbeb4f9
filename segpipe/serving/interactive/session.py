"""One opened scan and what a reader has said of a lesion in it, step by step."""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.case import Case
from segpipe.errors import ConfigError
from segpipe.geometry import Grid
from segpipe.inference.findings import measure_findings
from segpipe.inference.loaded_model import LoadedModel
from segpipe.inference.look import Boxes, Look, Place
from segpipe.inference.measurements.place import Places
from segpipe.inference.prompts.prompt import Ends, Prompt
from segpipe.inference.stage_timer import StageTimer
from segpipe.inference.window.grid import Point

MOST_STEPS, MOST_POINTS, MOST_WINDOWS = 200, 200, 16
"""Steps and points of a session, and windows whose answers it keeps."""


@dataclass(frozen=True)
class Step:
    """What a reader says at a time; a box or a line replaces an earlier one, points add up."""

    positives: tuple[Point, ...] = ()
    negatives: tuple[Point, ...] = ()
    box: Ends | None = None
    line: Ends | None = None


@dataclass(frozen=True, eq=False)
class Answer:
    """The lesion as all steps describe it.

    Args:
        steps: How many steps there are.
        prompt: What they say together.
        findings: The lesion's measurements as plain data, as `predict` writes them.
        mask: uint8, the part of the scan that was looked at, along the scan's own axes.
        start: Index of its first voxel in the scan.
        grid: Its grid.
    """

    steps: int
    prompt: Prompt
    findings: list[dict[str, Any]]
    mask: NDArray[np.uint8]
    start: tuple[int, int, int]
    grid: Grid


@dataclass(eq=False)
class Session:
    """A scan in memory, and the steps so far; calls wait for each other.

    Args:
        case: The scan.
        model: Answers.
    """

    case: Case
    model: LoadedModel
    steps: list[Step] = field(default_factory=list)
    answer: Answer | None = None

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._places = Places(self.case)
        self._places.prepare()
        self._look = self._new_look()

    @property
    def bytes(self) -> int:
        """Memory of the scan, and of a mask of it while an answer is worked out."""
        return int(self.case.image.nbytes + self.case.image.size)

    def add(self, step: Step) -> Answer:
        """Answers with one more step; one that is refused is as if it had not been said.

        Raises:
            SegpipeError: when what was said contradicts itself or does not fit the scan.
        """
        with self._lock:
            return self._take([*self.steps, step])

    def undo(self) -> Answer | None:
        """Takes the last step back; the answer to those before, or None when there is none left.

        Raises:
            ConfigError: when there is no step.
        """
        with self._lock:
            if not self.steps:
                raise ConfigError("there is no step to undo", hint="say where the lesion is first")
            if len(self.steps) > 1:
                return self._take(self.steps[:-1])
            self.steps, self.answer = [], None
            return None

    def reset(self) -> None:
        """Forgets all steps; the scan stays open."""
        with self._lock:
            self.steps, self.answer, self._look = [], None, self._new_look()

    def _take(self, steps: list[Step]) -> Answer:
        prompt = together(steps)
        points = len(prompt.positives) + len(prompt.negatives)
        if len(steps) > MOST_STEPS or points > MOST_POINTS:
            raise ConfigError(
                f"a lesion takes at most {MOST_STEPS} steps and {MOST_POINTS} points",
                facts={"steps": len(steps), "points": points},
                hint="begin again with reset",
            )
        seen = self._look.follow(prompt)
        box, grid = seen.inference_grid.scan_box, seen.inference_grid.covered
        found = measure_findings(self.case, seen.chosen, seen=box, places=self._places)
        if rater := self.model.rater:
            found = rater.rate(self.case, seen.aggregator.mask, found, self.model.folder.recipe.label_map)
        start = (box[0].start, box[1].start, box[2].start)
        mask = np.ascontiguousarray(seen.aggregator.mask[box])
        self.answer = Answer(len(steps), prompt, [finding.to_dict() for finding in found], mask, start, grid)
        self.steps = steps
        return self.answer

    def _new_look(self) -> Look:
        folder = self.model.folder
        return Look(
            memory=Recent(),
            case=self.case,
            recipe=folder.recipe,
            engine=self.model.engine,
            options=self.model.options,
            divisor=folder.divisor,
            timer=StageTimer(),
        )


class Recent(OrderedDict[Place, Boxes]):
    """The network's answers for the windows that were looked through last."""

    def __setitem__(self, place: Place, boxes: Boxes) -> None:
        """Keeps an answer, and forgets the oldest of too many."""
        super().__setitem__(place, boxes)
        self.move_to_end(place)
        if len(self) > MOST_WINDOWS:
            self.popitem(last=False)


def together(steps: Sequence[Step]) -> Prompt:
    """What steps say together.

    >>> together([Step(((0.0, 0.0, 0.0),)), Step(negatives=((9.0, 0.0, 0.0),))]).negatives
    ((9.0, 0.0, 0.0),)

    Raises:
        ConfigError: when they contradict each other.
    """
    drawn = [step for step in steps if step.box or step.line][-1:]
    return Prompt(
        tuple(point for step in steps for point in step.positives),
        tuple(point for step in steps for point in step.negatives),
        drawn[0].box if drawn else None,
        drawn[0].line if drawn else None,
    )
