"""The verb `train` for a program: the same words, a folder of its own, and an error in place of an exit code."""

import sys
from collections.abc import Sequence
from pathlib import Path

from segpipe.cli.train import run
from segpipe.errors import ConfigError, ModelError


def train_in_folder(overrides: Sequence[str], folder: Path) -> Path:
    """See `segpipe.train`."""
    sweeps = [word for word in overrides if word in ("--multirun", "-m") or word.startswith("hydra.run.dir=")]
    if sweeps:
        raise ConfigError("one call trains one run, in the folder that is given", facts={"found": " ".join(sweeps)})
    arguments = list(sys.argv)
    try:
        run([*overrides, f"hydra.run.dir={_quoted(folder)}"])
    finally:
        sys.argv[:] = arguments
    if not (folder / "model" / "segpipe.json").is_file():
        raise ModelError("the training ended without a model", facts={"log": folder / "train.log"})
    return folder


def _quoted(folder: Path) -> str:
    """A path as one value of Hydra's grammar, whatever letters it has."""
    escaped = str(folder.absolute()).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
