"""Evaluates a model folder on a data set; if it was trained there, on the cases that its training held out."""

import hashlib
from collections.abc import Collection
from operator import attrgetter
from pathlib import Path
from typing import Any

from segpipe.datasets.manifest import Entry, Manifest, read_manifest
from segpipe.datasets.opening import cache_folder, prepared_folder, quick_hash
from segpipe.datasets.splits import FRACTIONS, assign_roles
from segpipe.datasets.training_cases import limit_training
from segpipe.errors import DatasetError, SegpipeError
from segpipe.export.export_spec import TRAINED_BY
from segpipe.export.model_folder import ModelFolder
from segpipe.export.seen_cases import SEEN
from segpipe.inference.batch.runner import model_digest
from segpipe.inference.case_evaluator import CaseEvaluator
from segpipe.inference.engines.engine import Engine
from segpipe.inference.operating_point import OperatingPointRequest, choose_point
from segpipe.inference.options import PredictOptions
from segpipe.pipelines.evaluation_plan import EvaluationPlan
from segpipe.system.files.csv_table import read_csv


def plan_model(
    folder: ModelFolder,
    data: Path,
    *,
    engine: Engine,
    split: str | None = None,
    cases: Collection[str] | None = None,
    wish: OperatingPointRequest | None = None,
    masks: Path | None = None,
) -> EvaluationPlan:
    """The cases of a data set are predicted and compared with their references.

    Args:
        folder: A verified model folder.
        data: A data set folder.
        engine: Runs its network.
        split: The role whose cases are evaluated, or `all`. By default those that the model's training held out when
            the data set is the one it was trained on; else the test cases where the data set fixes some; else all.
        cases: Instead of a split, the names of the cases.
        wish: Another operating point than the model's own.
        masks: Where predicted masks are written, if anywhere.

    Raises:
        ConfigError: for an operating point that the model does not reach.
        DatasetError: when the data set cannot be used, or has no case in this split or not all of the cases.
    """
    manifest = read_manifest(data)
    digest = quick_hash(manifest, prepared_folder(cache_folder(None)))
    if cases is not None:
        entries, chosen = named_entries(manifest, cases), "named cases"
    else:
        trained_here = folder.about.get("data_hash") == digest
        entries, chosen = choose_entries(manifest, split, folder.about if trained_here else {})
    point = choose_point(folder.operating_point, wish or OperatingPointRequest())
    options = PredictOptions.of_model(point, folder.operating_point, keep_probability=True, most_findings=None)
    evaluator = CaseEvaluator(engine, folder.recipe, folder.divisor, manifest.labels, options, masks)
    about = {
        "data": manifest.name,
        "data_hash": digest,
        "recipe_digest": folder.recipe.digest,
        "split": chosen,
        "operating_point": {**point.to_dict(), "flips": list(options.flips), "overlap": options.overlap},
    }
    about |= {"confidence": point.confidence} if point.confidence else {}
    settings = {
        "model": model_digest(folder),
        "computed_by": getattr(engine, "name", "unknown"),
        "recipe": folder.recipe.to_dict(),
        **({SEEN: folder.about[SEEN]} if folder.about.get(SEEN) else {}),
    }
    return EvaluationPlan(entries, attrgetter("id"), evaluator, about, settings=settings, masks=masks)


def read_case_names(table: Path) -> frozenset[str]:
    """The cases that a table has in its column `case`.

    Raises:
        DatasetError: when it cannot be read, lacks the column or names none.
    """
    try:
        columns, rows = read_csv(table)
    except (OSError, ValueError) as error:
        raise DatasetError("the table of cases cannot be read", facts={"table": table, "reason": error}) from error
    if "case" not in columns:
        found = ", ".join(columns) or "none"
        raise DatasetError("the table of cases must have a column case", facts={"table": table, "columns": found})
    names = frozenset(row["case"] for row in rows if row["case"])
    if not names:
        raise DatasetError("the table of cases names no case", facts={"table": table})
    return names


def named_entries(manifest: Manifest, names: Collection[str]) -> list[Entry]:
    """The cases of these names.

    Raises:
        DatasetError: when the data set lacks some of them.
    """
    entries = [entry for entry in manifest.entries if entry.id in names]
    missing = sorted(set(names) - {entry.id for entry in entries})
    if missing:
        shown = ", ".join(missing[:3]) + (" …" if len(missing) > 3 else "")
        raise DatasetError(
            "the data set lacks cases that the table names",
            facts={"missing": f"{len(missing)} of {len(set(names))}: {shown}", "data set": manifest.name},
            hint="the table must be of runs or evaluations on this data set",
        )
    return entries


def choose_entries(manifest: Manifest, split: str | None, trained: Any) -> tuple[list[Entry], str]:
    """The cases to evaluate, and in words which they are.

    Args:
        manifest: The data set.
        split: What the user asks for.
        trained: What a model folder says about a model that was trained on this data set; empty for another one.

    Raises:
        DatasetError: when there is no such case.
    """
    known = _split_of_training(manifest, trained.get("split") or {}, _fractions(trained))
    roles = known or manifest
    fixed = any(entry.split == "test" for entry in roles.entries)
    wanted = split or ("test" if fixed else "all")
    entries = [entry for entry in roles.entries if wanted in ("all", entry.split)]
    if not entries:
        raise DatasetError(
            "the data set has no case in this split",
            facts={"split": wanted, "cases": len(manifest.entries)},
            hint="--split all evaluates every case, also those the model may have seen in training",
        )
    return entries, wanted + (" (of the model's own training)" if known and wanted != "all" else "")


def _fractions(trained: Any) -> tuple[float, float, float]:
    train, val, test = ((trained.get(TRAINED_BY) or {}).get("split") or {}).get("fractions") or FRACTIONS
    return train, val, test


def _split_of_training(
    manifest: Manifest, split: dict[str, Any], fractions: tuple[float, float, float]
) -> Manifest | None:
    """The roles that the model's training gave the cases; None when they cannot be known for certain."""
    fold, folds, seed = split.get("fold"), split.get("folds") or 5, int(split.get("seed") or 0)
    try:
        roles = assign_roles(manifest, fold=fold, folds=folds, seed=seed, fractions=fractions)
        if limit := split.get("limit"):
            roles = limit_training(roles, int(limit), seed=seed)
    except SegpipeError:
        return None
    trained = "\n".join(sorted(entry.id for entry in roles.entries if entry.split == "train"))
    return roles if hashlib.sha256(trained.encode()).hexdigest() == split.get("training_cases_sha256") else None
