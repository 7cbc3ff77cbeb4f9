"""From a fitted network to figures and a model folder; the latter is written whatever becomes of the former."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any

import torch

from segpipe.config.schema import Settings
from segpipe.datasets.loading import load_case
from segpipe.datasets.manifest import Entry
from segpipe.errors import DatasetError, SegpipeError, explain
from segpipe.evaluation.drift.fingerprint import fingerprint_of
from segpipe.evaluation.evaluated_cases import EvaluatedCases, sort_outcomes, write_summary
from segpipe.evaluation.membership import MEMBERSHIP, measure_membership
from segpipe.evaluation.point_and_confidence import choose_point_and_confidence
from segpipe.evaluation.results import CaseResult
from segpipe.export.export_spec import TRAINED_BY
from segpipe.export.guarantee import PRIVACY
from segpipe.export.model_folder import write_model_folder
from segpipe.export.second_stage import StageModel
from segpipe.export.seen_cases import ROLES, SEEN, make_group
from segpipe.inference.case_evaluator import CaseEvaluator
from segpipe.inference.engines.engine import TorchEngine
from segpipe.inference.operating_point import OperatingPoint, OperatingPointRequest, choose_point
from segpipe.inference.options import PredictOptions
from segpipe.inference.second_stage import SecondStage
from segpipe.networks import input_sizes
from segpipe.preprocessing.resampling import normalise, plan_preparation, resample_to_recipe
from segpipe.system.case_errors import attempt, attempt_step
from segpipe.system.evenly import evenly
from segpipe.system.processes.parallel_map import parallel_map
from segpipe.system.processes.ranks import Ranks
from segpipe.training.data.run_data import RunData
from segpipe.training.detector.second_stage import FittedStage, fit_second_stage
from segpipe.training.fitting import TrainingResult
from segpipe.training.hardware import compute_of
from segpipe.training.run_result import RunResult
from segpipe.training.transfer.initial_weights import seen_before

log = logging.getLogger(__name__)
_IN_POINT = ("operating_point", "confidence")
"""What the model folder has in its operating point."""


def evaluate_and_export(
    settings: Settings, run_data: RunData, fitted: TrainingResult, folder: Path, *, provenance: Mapping[str, Any]
) -> RunResult | None:
    """Chooses an operating point on the validation cases, evaluates on the held-out ones and writes the model folder.

    Processes that have trained together share out the cases, and each writes the masks of its own.

    Args:
        settings: The checked configuration.
        run_data: The cases by role.
        fitted: The trained network.
        folder: The run folder.
        provenance: Code, data, recipe and split of the run, for summary and model card.

    Returns:
        What was found, or None in the processes that only helped.
    """
    ranks = Ranks()
    decided = _decide(settings, run_data, fitted, ranks)
    options = replace(decided.evaluator.options, **vars(decided.chosen))
    masks = folder / "evaluation" / "masks"
    held_out = replace(decided.evaluator, options=options, masks=masks, profiles=True)
    cases = _evaluate_held_out(settings, run_data, held_out, ranks)
    membership, unmeasured = attempt_step(partial(_measure_membership, settings, run_data, held_out, cases, ranks))
    if not ranks.main:
        return None
    about = {**_about(provenance), "selection": _selection(settings, run_data), "steps": fitted.steps}
    about |= decided.about
    about |= {MEMBERSHIP: membership} if membership else {}
    about |= {PRIVACY: dict(fitted.privacy)} if fitted.privacy else {}
    write = partial(write_summary, cases, folder / "evaluation", about=about, seed=settings.seed)
    summary, problem = attempt_step(write)
    log.info("exporting the model folder")
    example = _example(run_data)
    model = write_model_folder(
        folder / "model",
        network=fitted.network,
        spec=settings.network,
        recipe=run_data.recipe,
        operating_point=decided.stored_point,
        about={
            **{name: value for name, value in about.items() if name not in _IN_POINT},
            **figures_of(summary),
            "fingerprint": fingerprint_of(cases.results),
            **({TRAINED_BY: provenance[TRAINED_BY]} if TRAINED_BY in provenance else {}),
            **({} if fitted.privacy else {SEEN: [_seen(run_data, cases.results), *seen_before(folder)]}),
        },
        example_bcxyz=example,
        second_stage=decided.stage.model if decided.stage else None,
    )
    return RunResult(folder, model, example, about, cases, summary, problem or decided.problem or unmeasured)


@dataclass(frozen=True)
class _Decided:
    """What is known of a network before a held-out case is looked at.

    Args:
        evaluator: Predicts and compares, with the second stage, at no operating point yet.
        stage: The second stage, if there is one.
        point: The operating point, with its curve and the confidence of findings.
        problem: What went wrong in deciding; the plain operating point is taken then.
    """

    evaluator: CaseEvaluator
    stage: FittedStage | None
    point: Mapping[str, Any]
    problem: SegpipeError | None

    @property
    def chosen(self) -> OperatingPoint:
        """The operating point to evaluate at."""
        return choose_point(self.point, OperatingPointRequest())

    @property
    def stored_point(self) -> dict[str, Any]:
        """The operating point as the model folder has it, with the windows and views that it was chosen with."""
        options = self.evaluator.options
        return {**self.point, "flips": list(options.flips), "overlap": options.overlap}

    @property
    def about(self) -> dict[str, Any]:
        """What summary and model card say of it."""
        return {
            "operating_point": self.chosen.to_dict(),
            **({"second_stage": self.stage.about} if self.stage else {}),
            **({"confidence": self.point["confidence"]} if "confidence" in self.point else {}),
        }


def _decide(settings: Settings, run_data: RunData, fitted: TrainingResult, ranks: Ranks) -> _Decided:
    """Learns the second stage, if one is wanted, and chooses the operating point on the validation cases."""
    evaluator = build_evaluator(settings, run_data, fitted.network)
    stage, unlearnt = attempt_step(partial(fit_second_stage, settings, run_data, evaluator, ranks))
    if stage:
        evaluator = build_evaluator(settings, run_data, fitted.network, stage.model)
    validated, unknown = attempt_step(partial(_validate, settings, run_data, evaluator, ranks))
    point, unchosen = attempt_step(partial(_operating_point, settings, validated or [], evaluator))
    point = point or _operating_point(settings, [], evaluator)
    return _Decided(evaluator, stage, point, unknown or unchosen or unlearnt)


def figures_of(summary: Mapping[str, Any] | None) -> dict[str, Any]:
    """The main figures of an evaluation for the model card; none where it failed."""
    if not summary:
        return {}
    figures = {name: summary[name] for name in ("cases", "patients", "metrics", "lesions")}
    froc = (summary["detection"] or {}).get("overlap", {})
    shown = ("cpm", "average_precision", "by_diameter")
    detection = {name: value for name, value in froc.items() if name.startswith(shown)}
    return {"figures": {**figures, "detection": detection}}


def build_evaluator(
    settings: Settings, run_data: RunData, network: torch.nn.Module, stage: StageModel | None = None
) -> CaseEvaluator:
    """What predicts a case by a trained network and compares it with its reference, at no operating point yet.

    Args:
        settings: The checked configuration.
        run_data: For recipe and labels.
        network: The trained network.
        stage: What looks again at its candidates, if anything does.
    """
    engine = TorchEngine(network, run_data.recipe.label_map, device=compute_of(settings.trainer).device.type)
    engine.second_stage = SecondStage(stage.network, stage.spec.crop) if stage else None
    return CaseEvaluator(
        engine,
        run_data.recipe,
        input_sizes(settings.network, network, run_data.recipe.patch).divisor,
        run_data.manifest.labels,
        PredictOptions(overlap=settings.evaluation.overlap, flips=tuple(settings.evaluation.flips)),
    )


def _evaluate_held_out(settings: Settings, run_data: RunData, evaluator: CaseEvaluator, ranks: Ranks) -> EvaluatedCases:
    entries = run_data.entries("test")
    log.info("evaluating on %d held-out cases", len(entries))
    return _evaluate_cases(settings, evaluator, entries, ranks)


def _evaluate_cases(settings: Settings, evaluator: CaseEvaluator, entries: list[Entry], ranks: Ranks) -> EvaluatedCases:
    own, title = ranks.own(entries), "evaluating" if settings.trainer.progress and ranks.main else None
    outcomes = parallel_map(evaluator, list(own.values()), name=attrgetter("id"), title=title, workers=0)
    places = list(own)
    cases = sort_outcomes(ranks.gather({places[index]: outcome for index, outcome in outcomes}))
    for error in cases.errors if ranks.main else ():
        log.error("%s", explain(error))
    return cases


def _seen(run_data: RunData, held_out: Sequence[CaseResult]) -> dict[str, Any]:
    """The cases of the run by the digests of their voxels, which were made where each case was read."""
    known = {result.case: result.scan_digest for result in held_out}
    known |= {name: case.scan_digest for name, case in run_data.cached.items()}
    return make_group(
        {role: [one for entry in run_data.entries(role) if (one := known.get(entry.id))] for role in ROLES}
    )


def _validate(settings: Settings, run_data: RunData, evaluator: CaseEvaluator, ranks: Ranks) -> list[CaseResult]:
    """The validation cases, on which operating point and confidence are chosen; none where neither is wanted."""
    entries = run_data.entries("val")
    if not entries or not (settings.evaluation.tune_operating_point or run_data.recipe.scope == "voi"):
        return []
    log.info("evaluating on %d validation cases", len(entries))
    return _evaluate_cases(settings, evaluator, entries, ranks).results


def _measure_membership(
    settings: Settings, run_data: RunData, evaluator: CaseEvaluator, held_out: EvaluatedCases, ranks: Ranks
) -> dict[str, Any] | None:
    """How well cases of the training can be guessed, by as many of them as are held out; None where nobody asked."""
    if not settings.evaluation.membership:
        return None
    entries = evenly(run_data.entries("train"), len(run_data.entries("test")))
    log.info("evaluating on %d cases of the training", len(entries))
    members = _evaluate_cases(settings, replace(evaluator, masks=None, profiles=False), entries, ranks)
    return measure_membership(members.results, held_out.results, seed=settings.seed)


def _operating_point(settings: Settings, validated: Sequence[CaseResult], evaluator: CaseEvaluator) -> dict[str, Any]:
    """Voxel threshold, smallest volume and lowest confidence, and how far confidences there can be relied on."""
    tunes, threshold = settings.evaluation.tune_operating_point, evaluator.options.threshold
    return choose_point_and_confidence(validated, evaluator.recipe, tunes=tunes, threshold=threshold)


def _example(run_data: RunData) -> torch.Tensor:
    """A scan as the network sees it, (1, 1, x, y, z): what export checks parity with; a held-out one if it can be."""
    errors = []
    for entry in (entry for role in ("test", "val", "train") for entry in run_data.entries(role)):
        example = attempt(partial(_prepare, run_data, entry), case=entry.id)
        if isinstance(example, torch.Tensor):
            return example
        errors.append(example)
    raise DatasetError(
        "no scan of the data set can be read any more, and the exported model is checked on one",
        facts={"cases": len(errors), "first": errors[0].message},
        hint="bring the data set back, then: python -m segpipe export --checkpoint RUN_DIR --output DIR",
    )


def _prepare(run_data: RunData, entry: Entry) -> torch.Tensor:
    case = load_case(entry, run_data.manifest.labels)
    prepared = resample_to_recipe(case.image, plan_preparation(case.grid, run_data.recipe))
    return normalise(prepared, run_data.recipe)[None, None]


def _selection(settings: Settings, run_data: RunData) -> str:
    """Says whether held-out cases chose anything; if so, the figures are not independent of them."""
    chosen = settings.evaluation.weights == "best" or settings.training.early_stopping is not None
    if not chosen:
        return "none: the last weights are evaluated"
    where = "the held-out cases themselves (optimistic)" if run_data.monitors_test else "the validation cases"
    return f"weights chosen on {where}"


def _about(provenance: Mapping[str, Any]) -> dict[str, Any]:
    names = ("experiment", "init", "data", "data_hash", "recipe_digest", "split", "segpipe_version", "git_commit")
    return {name: provenance[name] for name in names if name in provenance}
