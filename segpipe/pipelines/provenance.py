"""Where a result comes from: code, data, recipe and split, as plain data that travels with every result."""

import hashlib
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segpipe import __version__
from segpipe.config.schema import Settings
from segpipe.datasets.training_cases import without_rehearsed
from segpipe.export.seen_cases import SEEN
from segpipe.system.machine.versions import versions_of
from segpipe.training.data.run_data import RunData
from segpipe.training.transfer.initial_weights import check_public, with_caution

_PACKAGES = ("torch", "monai", "pytorch-lightning", "numpy", "nibabel", "onnxruntime", "mlflow", "hydra-core")


def collect_provenance(
    settings: Settings, run_data: RunData, initial: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The provenance of a run; holds no path and no case id.

    Args:
        settings: The checked configuration.
        run_data: The cases by role.
        initial: What its weights begin with; see `describe_initial_weights`.

    Raises:
        ConfigError: see `check_public`, of a private training.
    """
    if settings.privacy and initial:
        digests = [run_data.cached[entry.id].scan_digest for entry in run_data.entries("train")]
        check_public(initial, data_hash=run_data.hash, digests=digests)
    split = _describe_split(settings, run_data)
    named = {name: value for name, value in (initial or {}).items() if name != SEEN}
    begun = with_caution(named, data_hash=run_data.hash, split=split) if named else None
    return {
        "experiment": settings.name,
        **({"init": begun} if begun else {}),
        "data": run_data.manifest.name,
        "data_hash": run_data.hash,
        "recipe": run_data.recipe.to_dict(),
        "digest": run_data.recipe.digest,
        "recipe_digest": run_data.recipe.digest,
        "network": settings.network,
        "labels": {str(value): name for value, name in run_data.manifest.labels.items()},
        "split": split,
        "seed": settings.seed,
        "segpipe_version": __version__,
        "git_commit": git_commit(),
    }


def environment() -> dict[str, str]:
    """Versions of Python and of the packages that decide a result."""
    return {"python": platform.python_version(), **versions_of(_PACKAGES)}


def git_commit() -> str:
    """The commit of the checkout that runs, with a plus sign when it is changed; `installed` outside a checkout."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return "installed"
    commit = _git(root, "rev-parse", "--short=12", "HEAD")
    return f"{commit}+" if commit and _git(root, "status", "--porcelain", "--untracked-files=no") else commit or "none"


def _describe_split(settings: Settings, run_data: RunData) -> dict[str, Any]:
    own = without_rehearsed(run_data.manifest).entries
    trained = sorted(entry.id for entry in own if entry.split == "train")
    return {
        "fold": settings.data.fold,
        "folds": settings.data.folds if settings.data.fold is not None else None,
        "seed": settings.data.split_seed,
        **{role: len(run_data.entries(role)) for role in ("train", "val", "test")},
        **({} if settings.data.limit is None else {"limit": len(trained)}),
        "training_cases_sha256": hashlib.sha256("\n".join(trained).encode()).hexdigest(),
    }


def _git(root: Path, *words: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()
