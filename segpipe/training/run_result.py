"""What a run found and made, as plain data for whoever reports it."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from segpipe.errors import SegpipeError
from segpipe.evaluation.evaluated_cases import EvaluatedCases
from segpipe.evaluation.results import CaseResult
from segpipe.export.model_folder import ModelFolder, predict_command


@dataclass(frozen=True)
class RunResult:
    """What a run found and made.

    Args:
        folder: The run folder.
        model: The model folder.
        example_bcxyz: A scan of the data set as the network sees it, with which the export was checked.
        about: What was evaluated on what; in front of the summary, and on the model card.
        cases: What became of the held-out cases.
        summary: The content of `evaluation/summary.json`; None when the evaluation failed as a whole.
        problem: Why it failed.
    """

    folder: Path
    model: ModelFolder
    example_bcxyz: torch.Tensor
    about: Mapping[str, Any]
    cases: EvaluatedCases
    summary: Mapping[str, Any] | None
    problem: SegpipeError | None = None

    @property
    def results(self) -> list[CaseResult]:
        """The figures of each held-out case."""
        return self.cases.results

    @property
    def exit_code(self) -> int:
        """2 when the evaluation or one of its cases failed, else 0."""
        return 2 if self.problem or self.cases.errors else 0

    def describe(self) -> str:
        """The closing lines of the run."""
        if self.summary is not None:
            return describe(self.summary, self.folder, self.model.path)
        model = shlex.quote(str(self.model.path))
        return "\n".join(
            [
                f"the model is there, its evaluation is missing: {self.problem and self.problem.message}",
                f"evaluate python -m segpipe evaluate --model {model} --data DATASET --output DIR",
                *_where(self.model.path),
            ]
        )


def describe(summary: Mapping[str, Any], folder: Path, model: Path) -> str:
    """The closing lines of a run: the main figures, and where everything is."""
    dice, lesions = summary["metrics"]["dice"], summary["lesions"]
    failed = summary["failed_cases"]
    return "\n".join(
        [
            f"{summary['cases']} held-out cases of {summary['data']}, in each scan's own space:",
            *([f"  {failed} more could not be evaluated, see above"] if failed else []),
            f"  Dice       {_interval(dice['mean'], dice['ci95'])}, median {_number(dice['median'])}",
            f"  lesion F1  {_number(lesions['f1'])} (recall {_number(lesions['recall'])},"
            f" precision {_number(lesions['precision'])})",
            f"figures  {folder / 'evaluation' / 'summary.json'}",
            f"report   {folder / 'report.html'}",
            *_where(model),
        ]
    )


def _where(model: Path) -> list[str]:
    return [
        f"model    {model}",
        f"predict  {predict_command(model)}",
    ]


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"


def _interval(value: float | None, bounds: list[float] | None) -> str:
    return _number(value) + (f" (95 % interval {bounds[0]:.3f} to {bounds[1]:.3f})" if bounds else "")
