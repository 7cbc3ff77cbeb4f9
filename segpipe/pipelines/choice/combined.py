"""Several runs as one: each case by the mean of the networks of all runs that did not train on its patient."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

from torch import nn

from segpipe.datasets.manifest import Entry, Manifest
from segpipe.datasets.opening import cache_folder, open_dataset, prepared_folder, quick_hash
from segpipe.errors import DatasetError, explain
from segpipe.evaluation.drift.fingerprint import fingerprint_of
from segpipe.evaluation.evaluated_cases import evaluate_each, sort_outcomes, write_summary
from segpipe.evaluation.point_and_confidence import choose_point_and_confidence
from segpipe.evaluation.reading import Evaluation, read_evaluation
from segpipe.evaluation.results import CaseResult
from segpipe.export.model_folder import load_network, read_model_folder
from segpipe.inference.case_evaluator import CaseEvaluator
from segpipe.inference.engines.engine import TorchEngine
from segpipe.inference.operating_point import OperatingPointRequest, choose_point
from segpipe.inference.options import PredictOptions
from segpipe.networks import network_divisor
from segpipe.networks.ensemble import Ensemble
from segpipe.pipelines.choice.runs import ValidatedRun

log = logging.getLogger(__name__)
_SHARED = ("data", "data_hash", "recipe_digest", "split")


@dataclass(frozen=True)
class Together:
    """Several runs as one.

    Args:
        evaluation: Of their ensemble, out of fold.
        point: The operating point as a model folder has it, with what is known of confidence, from the same cases.
        fingerprint: Of the same cases.
    """

    evaluation: Evaluation
    point: dict[str, Any]
    fingerprint: dict[str, Any]


def evaluate_together(
    runs: Sequence[ValidatedRun], name: str, folder: Path, *, device: str = "auto", seed: int = 0
) -> Together:
    """Predicts all cases again and writes the evaluation of the runs' ensemble, out of fold.

    Args:
        runs: Those that can be one ensemble.
        name: What they are called together.
        folder: The folder of the evaluation.
        device: What computes.
        seed: Of the bootstrap.

    Raises:
        DatasetError: when the data set is not what it was, or no case can be evaluated.
    """
    manifest = _open_data(runs[0])
    groups: dict[tuple[int, ...], list[Entry]] = {}
    for entry in manifest.entries:
        if all(entry.id in run.folds for run in runs):
            groups.setdefault(tuple(run.folds[entry.id] for run in runs), []).append(entry)
    outcomes = []
    for folds, entries in groups.items():
        evaluator = _evaluator(runs, folds, manifest.labels, device=device)
        outcomes += evaluate_each(evaluator, entries, name=attrgetter("id"))
    cases = sort_outcomes(outcomes)
    for error in cases.errors:
        log.error("%s", explain(error))
    first = runs[0].evaluation.summary
    about = {"runs": [run.name for run in runs], **{key: first[key] for key in _SHARED if key in first}}
    write_summary(cases, folder, about=about, seed=seed)
    return Together(read_evaluation(folder, name=name), _point(runs[0], cases.results), fingerprint_of(cases.results))


def _point(run: ValidatedRun, results: Sequence[CaseResult]) -> dict[str, Any]:
    tunes, threshold = run.config["evaluation"]["tune_operating_point"], run.model.operating_point.get("threshold", 0.5)
    kind = "held-out cases of all folds"
    return choose_point_and_confidence(results, run.model.recipe, tunes=tunes, threshold=threshold, kind=kind)


def join_networks(runs: Sequence[ValidatedRun]) -> tuple[nn.Module, dict[str, Any]]:
    """The networks of all folds of all runs as one, and what it is built from."""
    members = [member for run in runs for member in _members(load_network(run.model))]
    parts = [dict(run.model.network) for run in runs]
    regions = {} if runs[0].model.recipe.label_map.exclusive else {"exclusive": False}
    return Ensemble(members, **regions), {"name": "mixture", "parts": parts, **regions}


def _members(network: nn.Module) -> list[nn.Module]:
    assert isinstance(network, Ensemble)
    return list(network.members)


def _open_data(run: ValidatedRun) -> Manifest:
    data, labels = run.config["data"], run.model.recipe.label_map
    cache = cache_folder(data.get("cache"))
    manifest = open_dataset(data["name"], data, labels=labels, cache=cache)
    found, wanted = quick_hash(manifest, prepared_folder(cache)), run.evaluation.summary.get("data_hash")
    if found != wanted:
        raise DatasetError(
            "the data set is not the one that the runs were trained on, and an ensemble predicts its cases again",
            facts={"data": data.get("root", data["name"]), "found": found, "wanted": wanted},
            hint="bring it back, or choose among single runs: --members 1",
        )
    return manifest


def _evaluator(
    runs: Sequence[ValidatedRun], folds: Sequence[int], labels: Mapping[int, str], *, device: str
) -> CaseEvaluator:
    recipe, stored = runs[0].model.recipe, runs[0].model.operating_point
    models = [read_model_folder(run.folder_of(fold) / "model") for run, fold in zip(runs, folds, strict=True)]
    network = Ensemble([load_network(model) for model in models], exclusive=recipe.label_map.exclusive)
    parts = [{"name": "ensemble", "members": 1, "member": dict(model.network)} for model in models]
    options = PredictOptions.of_model(
        choose_point(stored, OperatingPointRequest()).of_any_size(),
        stored,
        overlap=float(runs[0].config["evaluation"]["overlap"]),
        keep_probability=True,
        most_findings=None,
    )
    engine = TorchEngine(network, recipe.label_map, device=device)
    divisor = network_divisor({"name": "mixture", "parts": parts})
    return CaseEvaluator(engine, recipe, divisor, labels, options, profiles=True)
