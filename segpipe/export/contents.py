"""What lies in a model folder is exactly what its index lists, so that no tool reads a file that nobody vouches for."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from segpipe.errors import ModelError
from segpipe.export.export_spec import INDEX, ONNX, SIGNATURE, WEIGHTS
from segpipe.export.index import COPY_AGAIN

_LARGEST_ONNX = 2**31
"""Bytes; protobuf reads no more."""


def content_errors(folder: Path, files: Mapping[str, str]) -> list[ModelError]:
    """What is wrong with the files of a model folder; each is read and compared with its SHA-256.

    Args:
        folder: The model folder.
        files: Name within the folder → SHA-256.
    """
    lacking = [name for name in (WEIGHTS, ONNX) if name not in files]
    if lacking:
        return [ModelError("the model folder lists no such file", facts={"missing": ", ".join(lacking)})]
    found = _plain_files(folder)
    links = [name for name, is_plain in found.items() if not is_plain]
    if links:
        hint = "copy it with its links followed: cp -rL"
        return [ModelError("a model folder must hold plain files only", facts=_listed(folder, links), hint=hint)]
    unlisted = sorted(set(found) - set(files) - {INDEX, SIGNATURE})
    if unlisted:
        hint = f"remove them: {INDEX} vouches for the files that it lists, and tools would read others, too"
        return [
            ModelError("the model folder holds files that it does not list", facts=_listed(folder, unlisted), hint=hint)
        ]
    errors = [error for name, wanted in files.items() if (error := _error(folder, name, wanted))]
    return errors or list(_onnx_errors(folder / ONNX, files))


def _plain_files(folder: Path) -> dict[str, bool]:
    """Everything below a folder but folders → whether it is a plain file that lies there itself."""
    below = [path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()]
    return {path.relative_to(folder).as_posix(): path.is_file() and not path.is_symlink() for path in below}


def _error(folder: Path, name: str, wanted: str) -> ModelError | None:
    windows = PureWindowsPath(name)
    if PurePosixPath(name).is_absolute() or windows.drive or windows.root or ".." in windows.parts:
        return ModelError("a file of a model folder must lie inside it", facts={"folder": folder, "found": name})
    file = folder / name
    if not file.is_file():
        return ModelError("a file of the model folder is missing", facts={"file": file})
    with file.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found == wanted:
        return None
    facts = {"file": file, "found": f"SHA-256 {found[:16]}…", "wanted": f"SHA-256 {wanted[:16]}…"}
    return ModelError("a file of the model folder was changed", facts=facts, hint=COPY_AGAIN)


def _onnx_errors(file: Path, files: Mapping[str, str]) -> Iterator[ModelError]:
    """Weights that an ONNX model takes from other files must be in files that the index lists."""
    places = [str(PurePosixPath(ONNX).parent / place) for place in _external_files(file)]
    strange = sorted(place for place in set(places) if ".." in PurePosixPath(place).parts or place not in files)
    if strange:
        facts = {"file": file, "found": ", ".join(strange[:4])}
        yield ModelError("the ONNX model takes weights from files that the folder does not list", facts=facts)


def _external_files(file: Path) -> list[str]:
    """The files that the tensors of an ONNX model name; every one that names a file says `location`."""
    if file.stat().st_size > _LARGEST_ONNX or b"location" not in (content := file.read_bytes()):
        return []
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        model = onnx.load_model_from_string(content)
    except DecodeError:
        return []  # which ONNX Runtime refuses as well
    tensors = [message for message in _messages(model) if isinstance(message, onnx.TensorProto)]
    return [entry.value for tensor in tensors for entry in tensor.external_data if entry.key == "location"]


def _messages(message: Any) -> Iterator[Any]:
    """A message of protobuf and all messages inside it."""
    yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in value if isinstance(value, Sequence) else [value]:
                yield from _messages(inner)


def _listed(folder: Path, names: list[str]) -> dict[str, object]:
    shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
    return {"folder": folder, "found": shown}
