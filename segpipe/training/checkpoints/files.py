"""The files of checkpoints: tensors and plain data, written whole or not at all, and verified when they are read."""

import logging
import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from copy import copy, deepcopy
from pathlib import Path
from typing import IO, Any, cast
from zipfile import BadZipFile, ZipFile

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from segpipe.errors import ModelError, OutputError
from segpipe.system.files.atomic_write import atomic_write
from segpipe.training.checkpoints.pacing import PacedStream

LAST, BEST = "last.ckpt", "best.ckpt"
log = logging.getLogger(__name__)


class CheckpointWriter(TorchCheckpointIO):
    """Copies checkpoints to host memory at once and writes them in the background, in their order, one at a time.

    Training waits only when two are not written yet; until it waits, they are written slowly. After one that cannot be
    written none is: `last.ckpt` never knows of a `best.ckpt` that is not there. At the latest when the trainer is torn
    down, by whatever, all are on the disk.
    """

    def __init__(self) -> None:
        self.error: Exception | None = None
        """Why a checkpoint could not be written."""
        self._thread = ThreadPoolExecutor(1, "segpipe-checkpoints")
        self._unwritten: deque[Future[None]] = deque()
        self._hurry = threading.Event()

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Takes a checkpoint to be written to `path`; see `error` for what became of those before it."""
        self._wait(unless=2)
        self._unwritten.append(self._thread.submit(self._write, _copy(checkpoint), Path(path)))

    def load_checkpoint(self, path: Any, map_location: Any = "cpu", weights_only: bool | None = True) -> dict[str, Any]:
        """Reads a checkpoint as tensors and plain data only.

        Raises:
            ModelError: when it is damaged.
        """
        return read_checkpoint(Path(path))

    def wait(self) -> None:
        """Returns when nothing is to be written any more."""
        self._wait(unless=1)

    def teardown(self) -> None:
        """Waits and ends the thread."""
        self._hurry.set()
        self._thread.shutdown()

    def _wait(self, *, unless: int) -> None:
        while len(self._unwritten) >= unless:
            self._hurry.set()
            self._unwritten.popleft().result()
        self._hurry.clear()

    def _write(self, checkpoint: dict[str, Any], file: Path) -> None:
        if self.error:
            return
        try:
            write_checkpoint(checkpoint, file, hurry=self._hurry)
        except Exception as error:
            self.error = error
            log.error("%s: %s", type(error).__name__, error)


def write_checkpoint(checkpoint: dict[str, Any], file: Path, *, hurry: threading.Event | None = None) -> None:
    """Writes under another name and renames, so that a kill leaves the old checkpoint.

    Args:
        checkpoint: Tensors and plain data.
        file: Where to.
        hurry: Is set when somebody waits for the file; until then it is written slowly. None writes at once.

    Raises:
        OutputError: when the disk is full or not writable; the former checkpoint stays.
    """
    try:
        with atomic_write(file, durable=True) as part, part.open("wb") as stream:
            torch.save(checkpoint, cast(IO[bytes], PacedStream(stream, hurry)) if hurry else stream)
    except (OSError, RuntimeError) as error:
        raise OutputError(
            "the checkpoint could not be written; the former one is kept",
            facts={"file": file, "found": error},
            hint="free disk space and start again with resume=true",
        ) from error


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


def _verify(file: Path) -> None:
    """Compares all parts of the file with their CRC-32, which `torch.save` writes and `torch.load` does not look at."""
    with ZipFile(file) as archive:
        damaged = archive.testzip()
    if damaged:
        raise BadZipFile(f"{damaged} is not what was written")


def _copy(value: Any) -> Any:
    """What training does not change any more, with all tensors in host memory."""
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        copied = copy(value)  # of its kind, with its attributes
        copied.update((key, _copy(entry)) for key, entry in value.items())
        return copied
    if type(value) in (list, tuple):
        return type(value)(map(_copy, value))
    return deepcopy(value)
