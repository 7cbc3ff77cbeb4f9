"""The verb `train` for a program: the same words, a folder of its own, and an error in place of an exit code."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from segpipe.cli.train import run
from segpipe.config.overrides import as_text
from segpipe.errors import ConfigError, ModelError

_OTHERS = ("--multirun", "-m", "+sweep", "--cfg", "-c", "--info", "-i", "--help", "-h", "--hydra-help", "hydra.run.dir")
"""Words that ask for several runs, for none, or for another folder."""


def train_in_folder(overrides: Sequence[str], folder: Path) -> Path:
    """See `segpipe.train`."""
    others = [word for word in overrides if word.partition("=")[0] in _OTHERS or word.lower() == "check=true"]
    if others:
        raise ConfigError(
            "one call trains one run, in the folder that is given",
            facts={"found": " ".join(others)},
            hint=f"on the command line: {shlex.join(['python', '-m', 'segpipe', *overrides])}",
        )
    arguments = list(sys.argv)
    try:
        run([*overrides, f"hydra.run.dir={as_text(str(folder.absolute()))}"])
    finally:
        sys.argv[:] = arguments
    if not any((folder / made).is_file() for made in ("model/segpipe.json", "study.md")):
        raise ModelError("the training ended without a model", facts={"log": folder / "train.log"})
    return folder
