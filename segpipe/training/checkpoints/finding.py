"""The checkpoint that a run goes on from: the newest that can be read and was made by the same parts."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segpipe.errors import ModelError
from segpipe.system.processes.ranks import Ranks
from segpipe.training.checkpoints.files import read_checkpoint

log = logging.getLogger(__name__)
_FOLDER = "checkpoints"


def agree_on_checkpoint(folder: Path, provenance: Mapping[str, Any], ranks: Ranks) -> Path | None:
    """The checkpoint that all processes of a run go on from, which the first one finds; None when there is none.

    Raises:
        ModelError: in all of them when none can be read, or it was made by another recipe, network or data set.
    """
    name = ranks.agree(lambda: _find(folder, provenance))
    return folder / _FOLDER / name if name else None


def find_resumable(run_folder: Path) -> Path | None:
    """The newest checkpoint of a run that can be read, or None when the run has none; damaged ones are logged.

    Raises:
        ModelError: when there are checkpoints but none can be read.
    """
    files = (run_folder / _FOLDER).glob("*.ckpt")
    failure: ModelError | None = None
    for file in sorted(files, key=lambda file: file.stat().st_mtime, reverse=True):
        try:
            read_checkpoint(file)
        except ModelError as error:
            log.warning("%s is passed over, it cannot be read: %s", file.name, error.facts.get("found", error.message))
            failure = error
        else:
            return file
    if failure:
        raise failure
    return None


def _find(folder: Path, provenance: Mapping[str, Any]) -> str | None:
    file = find_resumable(folder)
    if file is None:
        return None
    _check_resumable(file, provenance)
    log.info("resuming from %s", file.name)
    return file.name


def _check_resumable(checkpoint: Path, provenance: Mapping[str, Any]) -> None:
    made_by = read_checkpoint(checkpoint)["segpipe"]
    for key, name in {"digest": "recipe", "network": "network", "data_hash": "data set"}.items():
        if made_by.get(key) != provenance.get(key):
            raise ModelError(
                f"the checkpoint was made with another {name}",
                facts={"file": checkpoint, "found": made_by.get(key), "wanted": provenance.get(key)},
                hint="resume with the configuration that the run began with, or start a new run",
            )
