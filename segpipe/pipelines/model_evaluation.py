"""Judges a model folder on a data set; if it was trained there, on the cases that its training held out."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from segpipe.datasets.loading import load_lesions
from segpipe.datasets.manifest import Entry, Manifest, data_hash, read_manifest
from segpipe.datasets.splits import assign_roles
from segpipe.errors import DatasetError, SegpipeError
from segpipe.evaluation.evaluate import CaseResult, evaluate_pair
from segpipe.evaluation.folders import EvaluatedCases
from segpipe.export.model_folder import ModelFolder
from segpipe.inference.engines.engine import Engine
from segpipe.inference.operating_point import OperatingPointRequest, choose_point
from segpipe.inference.predictor import PredictOptions, predict_case
from segpipe.io.images.volumes import write_volume


def evaluate_model(
    folder: ModelFolder, data: Path, *, split: str | None = None, engine: Engine, masks: Path | None = None
) -> tuple[EvaluatedCases, dict[str, Any]]:
    """Predicts and judges the cases of a data set.

    Args:
        folder: A verified model folder.
        data: A data set folder.
        split: The role whose cases are judged, or `all`. By default those that the model's training held out when the
            data set is the one it was trained on; else the test cases where the data set fixes some; else all.
        engine: Runs its network.
        masks: Where predicted masks are written, if anywhere.

    Returns:
        What became of the cases, and the facts that go in front of the summary.

    Raises:
        DatasetError: when the data set cannot be used or has no case in this split.
    """
    manifest = read_manifest(data)
    digest = data_hash(manifest)
    entries, chosen = choose_entries(manifest, split, folder.facts if folder.facts.get("data_hash") == digest else {})
    point = choose_point(folder.operating_point, OperatingPointRequest())
    flips = tuple(folder.operating_point.get("flips", ()))
    options = PredictOptions.at(point, flips=flips, keep_probability=True, most_findings=None)
    judged = _judge(entries, manifest, folder, options, engine, masks)
    facts = {
        "data": manifest.name,
        "data_hash": digest,
        "recipe_digest": folder.recipe.digest,
        "split": chosen,
        "operating_point": {**vars(point), "flips": list(options.flips)},
    }
    return judged, facts


def choose_entries(manifest: Manifest, split: str | None, trained: Any) -> tuple[list[Entry], str]:
    """The cases to judge, and in words which they are.

    Args:
        manifest: The data set.
        split: What the user asks for.
        trained: The facts of a model that was trained on this data set; empty for another one.

    Raises:
        DatasetError: when there is no such case.
    """
    known = _split_of_training(manifest, trained.get("split") or {})
    roles = known or manifest
    fixed = any(entry.split == "test" for entry in roles.entries)
    wanted = split or ("test" if fixed else "all")
    entries = [entry for entry in roles.entries if wanted in ("all", entry.split)]
    if not entries:
        raise DatasetError(
            "the data set has no case in this split",
            facts={"split": wanted, "cases": len(manifest.entries)},
            hint="--split all judges every case, also those the model may have seen in training",
        )
    return entries, wanted + (" (of the model's own training)" if known and wanted != "all" else "")


def _split_of_training(manifest: Manifest, split: dict[str, Any]) -> Manifest | None:
    """The roles that the model's training gave the cases; None when they cannot be told for certain."""
    try:
        roles = assign_roles(
            manifest, fold=split.get("fold"), folds=split.get("folds") or 5, seed=int(split.get("seed") or 0)
        )
    except SegpipeError:
        return None
    trained = "\n".join(sorted(entry.id for entry in roles.entries if entry.split == "train"))
    return roles if hashlib.sha256(trained.encode()).hexdigest() == split.get("training_cases_sha256") else None


def _judge(
    entries: Sequence[Entry],
    manifest: Manifest,
    folder: ModelFolder,
    options: PredictOptions,
    engine: Engine,
    masks: Path | None,
) -> EvaluatedCases:
    from tqdm import tqdm

    judged = EvaluatedCases()
    for entry in tqdm(entries, desc="evaluating", unit="case"):
        try:
            judged.results.append(_evaluate_case(entry, manifest, folder, options, engine, masks))
        except SegpipeError as error:
            judged.errors.append(error.with_facts(case=entry.id))
    return judged


def _evaluate_case(
    entry: Entry,
    manifest: Manifest,
    folder: ModelFolder,
    options: PredictOptions,
    engine: Engine,
    masks: Path | None,
) -> CaseResult:
    case = load_lesions(entry, manifest.labels, folder.recipe.label)
    if case.mask is None:
        raise DatasetError(
            "a case to judge must have a reference mask",
            hint="python -m segpipe predict --input SCAN   takes scans without masks",
        )
    prediction = predict_case(case, folder.recipe, engine, options, divisor=folder.divisor)
    if masks:
        write_volume(masks / f"{entry.id}.nii.gz", prediction.mask, case.grid)
    return evaluate_pair(
        entry.id,
        entry.patient,
        prediction.mask,
        case.mask,
        case.grid,
        probability=prediction.probability,
        extra=entry.extra,
    )
