"""A run of ratings: nodules, networks out of fold with and without the crop, figures, and a model of all patients."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from segpipe import __version__
from segpipe.config.schema import Settings
from segpipe.datasets.manifest import Manifest
from segpipe.datasets.opening import cache_folder, open_dataset, prepared_folder, quick_hash
from segpipe.datasets.splits import assign_roles
from segpipe.errors import ConfigError
from segpipe.evaluation.rating_figures import RatedNodules
from segpipe.export.rating_card import compared_tables
from segpipe.export.rating_folder import RatingModel, write_rating_folder
from segpipe.inference.ratings.inputs import MEASUREMENTS
from segpipe.labels import LabelMap
from segpipe.pipelines.provenance import git_commit
from segpipe.system.files.atomic_write import write_json
from segpipe.system.files.csv_table import write_csv
from segpipe.tracking.harmless import harmless
from segpipe.tracking.trackers import RunToTrack, ask_tracker, build_tracker, closed_at_end
from segpipe.training.ratings.cross_validation import RatedStudy, RatingStudy, fit_all
from segpipe.training.ratings.samples import MISSING, read_samples
from segpipe.training.ratings.settings import RatingSettings
from segpipe.training.resuming.settings import write_config

if TYPE_CHECKING:
    from segpipe.tracking.mlflow import Tracker

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class _Outcome:
    """What came of a run: the content of `summary.json`, a row per nodule, and the model."""

    summary: Mapping[str, Any]
    rows: list[dict[str, Any]]
    model: RatingModel


def run_ratings(settings: Settings, config: Mapping[str, Any], folder: Path) -> int:
    """Learns ratings, rates every nodule out of fold and writes the model of all patients.

    Args:
        settings: The checked configuration, with the section `ratings`.
        config: The same as plain data.
        folder: The run folder.

    Raises:
        ConfigError: when the run shall be tried or resumed.
        SegpipeError: for data that cannot be learnt from.
    """
    if settings.check or settings.resume:
        raise ConfigError(
            "a run of ratings takes minutes and is neither tried nor resumed",
            facts={"check": settings.check, "resume": settings.resume},
            hint="leave check and resume out",
        )
    ask_tracker(settings.tracking)
    folder.mkdir(parents=True, exist_ok=True)
    write_config(config, folder)
    tracker = build_tracker(settings.tracking, RunToTrack(folder, config, {"kind": "ratings"}))
    with closed_at_end(tracker):
        outcome = _learn(settings)
        _write(outcome, folder)
        if tracker:
            with harmless("logging the ratings"):
                _track(tracker, outcome, folder)
    log.info("%s", _describe(outcome, folder))
    return 0


def _learn(settings: Settings) -> _Outcome:
    """Networks with and without the crop; what is written is of the kind with the lower log loss out of fold."""
    manifest = _open(settings)
    outcomes: dict[str, RatedStudy] = {}
    for name, study in _studies(settings, manifest).items():
        log.info("%s: %d nodules of %d patients", name, len(study.folds), len(set(study.samples.patients)))
        outcomes[name] = RatedStudy.of(study)
    chosen = min(outcomes, key=lambda name: outcomes[name].log_loss)
    log.info("a network of all patients, from %s", chosen)
    about = {**_about(settings, manifest), **_compare(outcomes, chosen)}
    best = outcomes[chosen]
    ratings = best.study.settings
    model = RatingModel(fit_all(best), ratings.scales, best.study.measurements, ratings.crop, ratings.layers, about)
    return _Outcome(_summarise(about), _rows(best), model)


def _compare(outcomes: Mapping[str, RatedStudy], chosen: str) -> dict[str, Any]:
    """What is said of each kind of network."""
    return {
        "learnt_from": chosen,
        "log_loss": {name: outcome.log_loss for name, outcome in outcomes.items()},
        "figures": outcomes[chosen].figures,
        "others": {name: outcome.figures for name, outcome in outcomes.items() if name != chosen},
    }


def _open(settings: Settings) -> Manifest:
    data, cache = settings.data, cache_folder(settings.data.cache)
    return open_dataset(data.name, data.model_dump(), labels=LabelMap.of("nodule"), cache=cache)


def _studies(settings: Settings, manifest: Manifest) -> dict[str, RatingStudy]:
    """What networks learn from → their study."""
    ratings: RatingSettings = settings.ratings
    samples = read_samples(manifest, ratings.scales, ratings.crop)
    parts = {"optimizer": settings.optimizer, "scheduler": settings.scheduler}
    study = RatingStudy(samples, _folds(settings, manifest), ratings, MEASUREMENTS, parts, settings.seed)
    alone = {"measurements alone": study.without_crop()}
    return {**alone, "measurements and crop": study} if ratings.layers.channels else alone


def _folds(settings: Settings, manifest: Manifest) -> NDArray[np.int64]:
    """The fold of each case, as a cross-validation of segmentations has it."""
    data, folds = settings.data, np.zeros(len(manifest.entries), dtype=np.int64)
    for fold in range(data.folds):
        split = assign_roles(manifest, fold=fold, folds=data.folds, seed=data.split_seed)
        folds[[entry.split == "test" for entry in split.entries]] = fold
    return folds


def _about(settings: Settings, manifest: Manifest) -> dict[str, Any]:
    return {
        "experiment": settings.name,
        "data": manifest.name,
        "source": manifest.source,
        "data_hash": quick_hash(manifest, prepared_folder(cache_folder(settings.data.cache))),
        "cases": len(manifest.entries),
        "patients": len({entry.patient for entry in manifest.entries}),
        "folds": settings.data.folds,
        "split_seed": settings.data.split_seed,
        "seed": settings.seed,
        "segpipe_version": __version__,
        "git_commit": git_commit(),
    }


def _summarise(about: Mapping[str, Any]) -> dict[str, Any]:
    """The figures under names that MLflow's charts line up, e.g. `malignancy_auc`."""
    kinds = {"": about["figures"], **{f"{name}_".replace(" ", "_"): found for name, found in about["others"].items()}}
    metrics = {
        f"{kind}{rating}_{name}": figure
        for kind, of_kind in kinds.items()
        for rating, figures in of_kind.items()
        for name, figure in figures.items()
    }
    facts = {name: value for name, value in about.items() if name not in ("figures", "others")}
    return {**facts, "metrics": metrics}


def _rows(outcome: RatedStudy) -> list[dict[str, Any]]:
    study, samples = outcome.study, outcome.study.samples
    rows: list[dict[str, Any]] = [
        {"case": name, "patient": patient, "fold": int(fold)}
        for name, patient, fold in zip(samples.names, samples.patients, study.folds, strict=True)
    ]
    for number, scale in enumerate(study.settings.scales):
        levels = samples.levels_nr[:, number].numpy()
        rated = RatedNodules(levels, outcome.calibrated[number], samples.patients)
        for row, level, place, mean, sure in zip(
            rows, levels, rated.predicted, rated.means, rated.confidence, strict=True
        ):
            row[scale.name] = None if level == MISSING else scale.grades[level].value
            row[f"{scale.name}_predicted"] = scale.grades[place].value
            row[f"{scale.name}_mean"] = round(float(mean) + scale.grades[0].value, 4)
            row[f"{scale.name}_confidence"] = round(float(sure), 4)
    return rows


def _write(outcome: _Outcome, folder: Path) -> None:
    write_json(folder / "evaluation" / "summary.json", dict(outcome.summary), what="the summary of the ratings")
    write_csv(folder / "evaluation" / "ratings.csv", outcome.rows, ("case", "patient", "fold"), what="the ratings")
    write_rating_folder(folder / "model", outcome.model)


def _track(tracker: "Tracker", outcome: _Outcome, folder: Path) -> None:
    summary, dataset = outcome.summary, f"{outcome.summary['data']} (all folds)"
    counts = {name: summary[name] for name in ("cases", "patients")}
    tracker.log_dataset(
        dataset, summary["data_hash"], source=summary["source"], counts=counts, context="cross-validation"
    )
    tracker.log_summary(summary, dataset=dataset)
    tracker.log_table(outcome.rows, "evaluation/ratings")
    tracker.log_file(folder / "evaluation" / "summary.json", "evaluation")
    tracker.log_folder(folder / "model", "model")


def _describe(outcome: _Outcome, folder: Path) -> str:
    about = outcome.model.about
    return "\n".join(
        [
            f"{about['cases']} nodules of {about['patients']} patients, each rated out of fold:",
            *compared_tables(about),
            f"figures  {folder / 'evaluation' / 'summary.json'}",
            f"model    {folder / 'model'}",
            f"predict  python -m segpipe predict --model MODEL --ratings {folder / 'model'} --input SCAN --output DIR",
        ]
    )
