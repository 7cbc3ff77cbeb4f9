"""The verb `train` for a program: the same words, a folder of its own, and an error in place of an exit code."""

import sys
from collections.abc import Sequence
from pathlib import Path

from segpipe.cli.train import run
from segpipe.config.overrides import as_text
from segpipe.errors import ConfigError, ModelError


def train_in_folder(overrides: Sequence[str], folder: Path) -> Path:
    """See `segpipe.train`."""
    sweeps = [word for word in overrides if word in ("--multirun", "-m") or word.startswith("hydra.run.dir=")]
    if sweeps:
        raise ConfigError("one call trains one run, in the folder that is given", facts={"found": " ".join(sweeps)})
    arguments = list(sys.argv)
    try:
        run([*overrides, f"hydra.run.dir={as_text(str(folder.absolute()))}"])
    finally:
        sys.argv[:] = arguments
    if not (folder / "model" / "segpipe.json").is_file():
        raise ModelError("the training ended without a model", facts={"log": folder / "train.log"})
    return folder
