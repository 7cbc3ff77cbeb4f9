"""A cross-validation: one run per fold, the out-of-fold cases pooled, and the folds' networks as one model folder."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segpipe.config.schema import Settings
from segpipe.evaluation.drift.fingerprint import fingerprint_of
from segpipe.evaluation.evaluated_cases import EvaluatedCases, write_summary
from segpipe.evaluation.point_and_confidence import choose_point_and_confidence
from segpipe.evaluation.tables import case_rows, lesion_rows
from segpipe.export.export_spec import TRAINED_BY
from segpipe.export.model_folder import ModelFolder, load_network, write_model_folder
from segpipe.export.second_stage import load_stage, mean_of_stages
from segpipe.export.seen_cases import seen_together
from segpipe.networks import is_shipped
from segpipe.networks.ensemble import Ensemble
from segpipe.pipelines.folds import check_folds, run_folds
from segpipe.pipelines.observers.mlflow_model import describe_model
from segpipe.pipelines.observers.run_tracking import TAGS, init_tags
from segpipe.pipelines.reports.case_pictures import configured_dataset, draw_cases, mask_files
from segpipe.pipelines.reports.evaluation_report import write_evaluation_report
from segpipe.system.case_errors import attempt_step
from segpipe.tracking.harmless import harmless
from segpipe.tracking.identity import read_run_id
from segpipe.tracking.nested_runs import Child, report_nested_runs
from segpipe.tracking.tables import side_by_side
from segpipe.tracking.trackers import RunToTrack, build_tracker, closed_at_end
from segpipe.training.evaluate_and_export import figures_of
from segpipe.training.resuming.settings import write_config
from segpipe.training.run_result import RunResult

if TYPE_CHECKING:
    from segpipe.tracking.mlflow import Tracker

log = logging.getLogger(__name__)
_SHARED = ("experiment", "data", "data_hash", "recipe_digest", "segpipe_version", "git_commit")
_CARD = (*_SHARED, "init", "split", "selection")


def cross_validate(settings: Settings, config: Mapping[str, Any], folder: Path) -> int:
    """Trains every fold; one that is resumed repeats no training that is done.

    Args:
        settings: The checked configuration with `data.fold=all`.
        config: The same as plain data.
        folder: The folder that holds the folds' run folders, the pooled evaluation and the ensemble.

    Returns:
        The exit code: 2 when held-out cases failed.

    Raises:
        ConfigError: see `check_folds`.
    """
    check_folds(settings)
    with open_parent(settings, config, folder) as parent:
        folds = run_folds(settings, config, folder, parent=parent.run_id if parent else None)
        result = _pool(folds, folder, config)
        log.info("%s", result.describe())
        if parent:
            with harmless("logging the cross-validation"):
                _log(parent, folds, result, source=settings.data.name)
                log.info("MLflow   %s", parent.run_url)
    return result.exit_code


@contextmanager
def open_parent(
    settings: Settings, config: Mapping[str, Any], folder: Path, *, kind: str = "cross-validation"
) -> "Iterator[Tracker | None]":
    """Opens the MLflow run that holds the folds, or the runs of another kind."""
    earlier = read_run_id(folder) if settings.resume else None
    write_config(config, folder)
    tracker = build_tracker(settings.tracking, RunToTrack(folder, config, {"kind": kind}, earlier))
    with closed_at_end(tracker):
        yield tracker


def _pool(folds: list[RunResult], folder: Path, config: Mapping[str, Any]) -> RunResult:
    """All cases, each evaluated by the fold that did not train on its patient, and the folds' networks as one."""
    cases = EvaluatedCases(
        results=[result for fold in folds for result in fold.cases.results],
        errors=[error for fold in folds for error in fold.cases.errors],
    )
    about = _about(folds)
    write = partial(write_summary, cases, folder / "evaluation", about=about, seed=config["seed"])
    summary, problem = attempt_step(write)
    problem = problem or next((fold.problem for fold in folds if fold.problem), None)
    member = folds[0].model.network if is_shipped(config["network"]) else config["network"]
    point = _operating_point(folds, tunes=config["evaluation"]["tune_operating_point"])
    model = _write_ensemble(folds, folder, about, summary, member=dict(member), point=point)
    result = RunResult(folder, model, folds[0].example_bcxyz, about, cases, summary, problem)
    if summary is not None:
        masks = mask_files(*(fold.folder / "evaluation" / "masks" for fold in folds))
        labels, count = model.recipe.label_map, config["evaluation"]["overlays"]
        pictures = draw_cases(cases.results, configured_dataset(config), masks, labels=labels, count=count)
        write_evaluation_report(folder, cases.results, summary, cases=pictures, config=config)
    return result


def _about(folds: list[RunResult]) -> dict[str, Any]:
    first = folds[0].about
    headlines = ("cases", "metrics", "lesions")
    return {
        **{name: first[name] for name in (*_SHARED, "init") if name in first},
        "split": {"folds": len(folds), "seed": first["split"]["seed"]},
        "selection": first["selection"],
        "folds": [{name: fold.summary[name] for name in headlines} for fold in folds if fold.summary],
    }


def _write_ensemble(
    folds: list[RunResult],
    folder: Path,
    about: Mapping[str, Any],
    summary: Mapping[str, Any] | None,
    *,
    member: dict[str, Any],
    point: Mapping[str, Any],
) -> ModelFolder:
    """Writes the folds' networks as one; its own figures are not known, those of its members are on the card."""
    first = folds[0].model
    stages = [(fold.model.path, fold.model.second_stage) for fold in folds if fold.model.second_stage]
    regions = {} if first.recipe.label_map.exclusive else {"exclusive": False}
    return write_model_folder(
        folder / "model",
        network=Ensemble([load_network(fold.model, member) for fold in folds], **regions),
        spec={"name": "ensemble", "members": len(folds), "member": member, **regions},
        recipe=first.recipe,
        operating_point=dict(point),
        about={
            **{name: about[name] for name in _CARD if name in about},
            **figures_of(summary),
            "fingerprint": fingerprint_of([result for fold in folds for result in fold.results]),
            **seen_together([fold.model.about for fold in folds]),
            **{name: first.about[name] for name in (TRAINED_BY,) if name in first.about},  # whose network comes first
        },
        example_bcxyz=folds[0].example_bcxyz,
        second_stage=mean_of_stages([load_stage(path, spec) for path, spec in stages]) if stages else None,
    )


def _operating_point(folds: list[RunResult], *, tunes: bool) -> dict[str, Any]:
    """Chosen on every case as the fold found it that did not train on its patient, as is what is said of confidence.

    No fold has validation cases, so that each showed everything, and its results can be chosen among.
    """
    first, results = folds[0].model, [result for fold in folds for result in fold.results]
    threshold, kind = float(first.operating_point.get("threshold", 0.5)), f"held-out cases of {len(folds)} folds"
    point = choose_point_and_confidence(results, first.recipe, tunes=tunes, threshold=threshold, kind=kind)
    return {**first.operating_point, "confidence": None, **point}


def _log(parent: "Tracker", folds: list[RunResult], result: RunResult, *, source: str) -> None:
    parent.set_tags({name: result.about[name] for name in TAGS} | init_tags(result.about))
    parent.log_model(result.model.path, describe_model(result.model))
    if result.summary is None:
        return
    pooled, dataset = result.summary, f"{result.about['data']} (all folds)"
    counts = {"cases": pooled["cases"], "patients": pooled["patients"]}
    parent.log_dataset(dataset, pooled["data_hash"], source=source, counts=counts, context="cross-validation")
    parent.log_summary(pooled, dataset=dataset)
    report_nested_runs(parent, _children(folds), pooled=pooled)
    parent.log_table(side_by_side(case_rows(result.results)), "evaluation/cases")
    parent.log_table(side_by_side(lesion_rows(result.results)), "evaluation/lesions")
    for name in ("evaluation/summary.json", "evaluation/cases.csv", "report.html"):
        if (result.folder / name).exists():
            parent.log_file(result.folder / name)


def _children(folds: list[RunResult]) -> list[Child]:
    return [
        Child(f"fold {number}", read_run_id(fold.folder), fold.summary)
        for number, fold in enumerate(folds)
        if fold.summary is not None
    ]
