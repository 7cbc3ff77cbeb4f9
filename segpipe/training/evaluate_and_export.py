"""From a fitted network to figures and a model folder."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from segpipe.config.schema import Settings
from segpipe.datasets.loading import load_case
from segpipe.evaluation.detection.operating_point_search import choose_operating_point
from segpipe.evaluation.evaluate import CaseResult
from segpipe.export.model_folder import ModelFolder, predict_command, write_model_folder
from segpipe.inference.engines.engine import TorchEngine
from segpipe.inference.predictor import PredictOptions
from segpipe.networks import network_divisor
from segpipe.preprocessing.resampling import apply_window, plan_preparation, resample_to_recipe
from segpipe.training.evaluation import CaseEvaluator, evaluate
from segpipe.training.fitting import TrainingResult
from segpipe.training.run_data import RunData

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunResult:
    """What a run found and made.

    Args:
        folder: The run folder.
        summary: The content of `evaluation/summary.json`.
        results: The figures of each held-out case.
        model: The model folder.
        example_bcxyz: A held-out scan as the network sees it, with which export was checked.
    """

    folder: Path
    summary: Mapping[str, Any]
    results: list[CaseResult]
    model: ModelFolder
    example_bcxyz: torch.Tensor


def describe(summary: Mapping[str, Any], folder: Path, model: Path) -> str:
    """The closing lines of a run: the main figures, and where everything is."""
    dice, lesions = summary["metrics"]["dice"], summary["lesions"]
    return "\n".join(
        [
            f"{summary['cases']} held-out cases of {summary['data']}, in each scan's own space:",
            f"  Dice       {_interval(dice['mean'], dice['ci95'])}, median {_number(dice['median'])}",
            f"  lesion F1  {_number(lesions['f1'])} (recall {_number(lesions['recall'])},"
            f" precision {_number(lesions['precision'])})",
            f"figures  {folder / 'evaluation' / 'summary.json'}",
            f"report   {folder / 'report.html'}",
            f"model    {model}",
            f"predict  {predict_command(model)}",
        ]
    )


def evaluate_and_export(
    settings: Settings, run_data: RunData, fitted: TrainingResult, folder: Path, *, facts: Mapping[str, Any]
) -> RunResult:
    """Chooses an operating point on the validation cases, evaluates on the held-out ones and writes the model folder.

    Args:
        settings: The checked configuration.
        run_data: The cases by role.
        fitted: The trained network.
        folder: The run folder.
        facts: What the run knows of itself, for summary and model card.
    """
    divisor = network_divisor(settings.network)
    engine = TorchEngine(fitted.network, device="cpu" if settings.trainer.accelerator == "cpu" else "auto")
    judge = CaseEvaluator(
        engine, run_data.recipe, divisor, run_data.manifest.labels, progress=settings.trainer.progress
    )
    options = PredictOptions(overlap=settings.evaluation.overlap, flips=tuple(settings.evaluation.flips))
    point = _operating_point(settings, run_data, judge, options)
    options = replace(options, **{key: value for key, value in point.items() if key not in ("froc", "origin")})
    log.info("evaluating on %d held-out cases", len(run_data.entries("test")))
    told = {**_told(facts), "selection": _selection(settings, run_data), "steps": fitted.steps}
    results, summary = evaluate(
        judge, run_data.entries("test"), options, folder=folder / "evaluation", facts=told, seed=settings.seed
    )
    log.info("exporting the model folder")
    example = _example(run_data)
    model = write_model_folder(
        folder / "model",
        network=fitted.network,
        spec=settings.network,
        recipe=run_data.recipe,
        operating_point={**point, "flips": list(options.flips)},
        facts={**told, "figures": _figures(summary)},
        example_bcxyz=example,
    )
    return RunResult(folder, summary, results, model, example)


def _operating_point(
    settings: Settings, run_data: RunData, judge: CaseEvaluator, options: PredictOptions
) -> dict[str, Any]:
    """Voxel threshold, smallest volume and lowest confidence, chosen on validation cases where there are any."""
    entries = run_data.entries("val")
    tunes = settings.evaluation.tune_operating_point and run_data.recipe.scope == "scan"
    if not tunes or not entries:
        return choose_operating_point([], threshold=options.threshold)
    log.info("choosing the operating point on %d validation cases", len(entries))
    point = choose_operating_point(judge.results(entries, options), threshold=options.threshold)
    log.info("operating point: %s", point["origin"])
    return point


def _example(run_data: RunData) -> torch.Tensor:
    """A held-out scan as the network sees it, (1, 1, x, y, z): what export checks parity with."""
    case = load_case(run_data.entries("test")[0], run_data.manifest.labels)
    prepared = resample_to_recipe(case.image, plan_preparation(case.grid, run_data.recipe))
    return apply_window(prepared, run_data.recipe)[None, None]


def _selection(settings: Settings, run_data: RunData) -> str:
    """Says whether held-out cases chose anything; if so, the figures are not independent of them."""
    chosen = settings.evaluation.weights == "best" or settings.training.early_stopping is not None
    if not chosen:
        return "none: the last weights are evaluated"
    where = "the held-out cases themselves (optimistic)" if run_data.monitors_test else "the validation cases"
    return f"weights chosen on {where}"


def _told(facts: Mapping[str, Any]) -> dict[str, Any]:
    names = ("experiment", "data", "data_hash", "recipe_digest", "split", "segpipe_version", "git_commit")
    return {name: facts[name] for name in names if name in facts}


def _figures(summary: Mapping[str, Any]) -> dict[str, Any]:
    return {name: summary[name] for name in ("cases", "patients", "metrics", "lesions")}


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"


def _interval(value: float | None, bounds: list[float] | None) -> str:
    return _number(value) + (f" (95 % interval {bounds[0]:.3f} to {bounds[1]:.3f})" if bounds else "")
