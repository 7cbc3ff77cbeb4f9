"""A cross-validation: one run per fold, the out-of-fold cases pooled, and the folds' networks as one model folder."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segpipe.config.schema import Settings
from segpipe.errors import ConfigError
from segpipe.evaluation.evaluate import CaseResult, summarise, write_evaluation
from segpipe.evaluation.tables import case_rows, lesion_rows
from segpipe.export.model_folder import ModelFolder, load_network, write_model_folder
from segpipe.networks.ensemble import Ensemble
from segpipe.pipelines.case_pictures import configured_dataset, draw_cases, mask_files
from segpipe.pipelines.evaluation_report import write_evaluation_report
from segpipe.pipelines.run_reporting import TAGS, remember_run, tracked_run
from segpipe.pipelines.single_run import run_single, write_config
from segpipe.tracking.nested_runs import Child, report_nested_runs
from segpipe.tracking.tables import side_by_side
from segpipe.tracking.trackers import RunFacts, build_tracker
from segpipe.training.evaluate_and_export import RunResult, describe

if TYPE_CHECKING:
    from segpipe.tracking.mlflow import Tracker

log = logging.getLogger(__name__)
_SHARED = ("experiment", "data", "data_hash", "recipe_digest", "segpipe_version", "git_commit")


def cross_validate(settings: Settings, config: Mapping[str, Any], folder: Path) -> int:
    """Trains every fold in turn; one that is resumed repeats no training that is done.

    Args:
        settings: The checked configuration with `data.fold=all`.
        config: The same as plain data.
        folder: The folder that holds the folds' run folders, the pooled evaluation and the ensemble.

    Returns:
        The exit code: 2 when held-out cases failed.

    Raises:
        ConfigError: with several processes, which can train one fold each but not one after another.
    """
    if settings.trainer.strategy == "ddp":
        raise ConfigError(
            "a cross-validation in one command runs in one process",
            facts={"data.fold": "all", "trainer.strategy": "ddp"},
            hint="train the folds as jobs of their own: data.fold=0,1,2,3,4 --multirun",
        )
    with open_parent(settings, config, folder) as parent:
        outcomes = [
            run_single(
                settings.model_copy(update={"data": settings.data.model_copy(update={"fold": fold})}),
                {**config, "data": {**config["data"], "fold": fold}},
                folder / f"fold_{fold}",
                parent=parent.run_id if parent else None,
            )
            for fold in range(settings.data.folds)
        ]
        found = [outcome for outcome in outcomes if outcome]
        pooled = _pool(found, folder, config)
        model = _release(found, folder, pooled)
        log.info("%s", describe(pooled, folder, model.path))
        if parent:
            _report(parent, found, pooled, folder, source=settings.data.name)
            log.info("MLflow   %s", parent.run_url)
    return 2 if pooled["failed_cases"] else 0


@contextmanager
def open_parent(settings: Settings, config: Mapping[str, Any], folder: Path) -> "Iterator[Tracker | None]":
    """Opens the MLflow run that holds the folds."""
    earlier = tracked_run(folder) if settings.resume else None
    write_config(config, folder)
    tracker = build_tracker(settings.tracking, RunFacts(folder, config, {"kind": "cross-validation"}, earlier))
    if tracker is None:
        yield None
        return
    remember_run(folder, tracker.run_id)
    with tracker:
        yield tracker


def _pool(outcomes: list[RunResult], folder: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """Summarises all cases, each judged by the fold that did not train on its patient."""
    results: list[CaseResult] = [result for outcome in outcomes for result in outcome.results]
    first = outcomes[0].summary
    summary = {
        **{name: first[name] for name in _SHARED},
        "split": {"folds": len(outcomes), "seed": first["split"]["seed"]},
        "selection": first["selection"],
        "failed_cases": sum(outcome.summary["failed_cases"] for outcome in outcomes),
        "folds": [{name: outcome.summary[name] for name in ("cases", "metrics", "lesions")} for outcome in outcomes],
        **summarise(results, seed=config["seed"]),
    }
    (folder / "evaluation").mkdir(exist_ok=True)
    write_evaluation(folder / "evaluation", results, summary)
    masks = mask_files(*(outcome.folder / "evaluation" / "masks" for outcome in outcomes))
    cases = draw_cases(results, configured_dataset(config), masks, count=config["evaluation"]["overlays"])
    write_evaluation_report(folder, results, summary, cases=cases, config=config)
    return summary


def _release(outcomes: list[RunResult], folder: Path, pooled: Mapping[str, Any]) -> ModelFolder:
    """Writes the folds' networks as one; its own figures are not known, those of its members are told."""
    first = outcomes[0].model
    member = dict(first.network)
    spec = {"name": "ensemble", "members": len(outcomes), "member": member}
    facts = {name: pooled[name] for name in (*_SHARED, "split", "selection")}
    return write_model_folder(
        folder / "model",
        network=Ensemble([load_network(outcome.model) for outcome in outcomes]),
        spec=spec,
        recipe=first.recipe,
        operating_point=first.operating_point,
        facts={**facts, "figures": {name: pooled[name] for name in ("cases", "patients", "metrics", "lesions")}},
        example_bcxyz=outcomes[0].example_bcxyz,
    )


def _report(
    parent: "Tracker", outcomes: list[RunResult], pooled: Mapping[str, Any], folder: Path, *, source: str
) -> None:
    children = [
        Child(f"fold {fold}", tracked_run(outcome.folder), outcome.summary) for fold, outcome in enumerate(outcomes)
    ]
    report_nested_runs(parent, children, pooled=pooled)
    results = [result for outcome in outcomes for result in outcome.results]
    parent.log_table(side_by_side(case_rows(results)), "evaluation/cases")
    parent.log_table(side_by_side(lesion_rows(results)), "evaluation/lesions")
    parent.set_tags({name: pooled[name] for name in TAGS})
    counts = {"cases": pooled["cases"], "patients": pooled["patients"]}
    parent.log_dataset(
        f"{pooled['data']} (all folds)", pooled["data_hash"], source=source, counts=counts, context="cross-validation"
    )
    parent.log_folder(folder / "model", "model")
    for name in ("evaluation/summary.json", "evaluation/cases.csv", "report.html"):
        if (folder / name).exists():
            parent.log_file(folder / name)
