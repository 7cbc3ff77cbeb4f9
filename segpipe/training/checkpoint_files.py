"""The files of checkpoints: tensors and plain data, written whole or not at all, and verified when they are read."""

import logging
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from segpipe.errors import ModelError, OutputError
from segpipe.system.atomic_write import atomic_write

LAST, BEST = "last.ckpt", "best.ckpt"
log = logging.getLogger(__name__)


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes under another name and renames, so a kill leaves the old checkpoint; reads without unpickling code."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Writes a checkpoint.

        Raises:
            OutputError: when the disk is full or not writable; the former checkpoint stays.
        """
        target = Path(path)
        try:
            with atomic_write(target, durable=True) as part, part.open("wb") as stream:
                torch.save(checkpoint, stream)
        except (OSError, RuntimeError) as error:
            raise OutputError(
                "the checkpoint could not be written; the former one is kept",
                facts={"file": target, "found": error},
                hint="free disk space and start again with resume=true",
            ) from error

    def load_checkpoint(self, path: Any, map_location: Any = "cpu", weights_only: bool | None = True) -> dict[str, Any]:
        """Reads a checkpoint as tensors and plain data only.

        Raises:
            ModelError: when it is damaged.
        """
        return read_checkpoint(Path(path))


def read_checkpoint(file: Path) -> dict[str, Any]:
    """Verifies a checkpoint and opens it with `torch.load(weights_only=True)`.

    Raises:
        ModelError: when the file is missing, damaged or holds more than tensors and plain data.
    """
    try:
        _verify(file)
        content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ModelError(
            "the checkpoint cannot be read",
            facts={"file": file, "found": next(iter(str(error).splitlines()), type(error).__name__)},
            hint="take another checkpoint of the run, e.g. best.ckpt",
        ) from error
    if not isinstance(content, dict) or "segpipe" not in content:
        raise ModelError("the file is not a segpipe checkpoint", facts={"file": file})
    return content


def find_resumable(run_folder: Path) -> Path | None:
    """The newest checkpoint of a run that can be read, or None when the run has none; damaged ones are logged.

    Raises:
        ModelError: when there are checkpoints but none can be read.
    """
    files = (run_folder / "checkpoints").glob("*.ckpt")
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


def _verify(file: Path) -> None:
    """Compares all parts of the file with their CRC-32, which `torch.save` writes and `torch.load` does not look at."""
    with ZipFile(file) as archive:
        damaged = archive.testzip()
    if damaged:
        raise BadZipFile(f"{damaged} is not what was written")
