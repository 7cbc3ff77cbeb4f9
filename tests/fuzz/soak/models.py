"""Readers of model folders, weights and checkpoints, with checksums made again as somebody who means harm would."""

import hashlib
import io
import json
import shutil
from functools import cache, partial
from pathlib import Path
from random import Random
from tempfile import mkdtemp
from typing import Any

import torch

from segpipe.export.export_spec import INDEX, ONNX, SIGNATURE, WEIGHTS
from segpipe.export.writing import checksum
from tests.fuzz.soak.reader import Reader, Try, file_reader, mutated, mutated_json, mutated_start


@cache
def _model() -> Path:
    """A folder with its ONNX model, made once for all readers of this process."""
    from tests.samples.small_models import UNET, write_small

    froc = [{"threshold": 0.3, "sensitivity": 0.9, "fp_per_scan": 0.5}]
    point = {"threshold": 0.5, "min_volume_mm3": 0.0, "min_probability": 0.0, "flips": [], "froc": froc}
    return write_small(
        Path(mkdtemp(prefix="soak-model-")) / "model", {**UNET, "channels": [4, 8]}, about={}, operating_point=point
    ).path


def _seal(folder: Path, index: Any) -> None:
    if isinstance(index, dict):
        for name in (WEIGHTS, ONNX):
            if isinstance(index.get("files"), dict) and name in index["files"]:
                index["files"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        index["checksum"] = checksum(index)
    (folder / INDEX).write_text(json.dumps(index))


def _write_mutated(model: Path, random: Random, index: Any) -> None:
    """A mutated index, with its checksum made again where it still is JSON."""
    content = mutated_json(random, index)
    try:
        _seal(model, json.loads(content))
    except (ValueError, OverflowError, RecursionError):
        (model / INDEX).write_bytes(content)


def _copy(folder: Path) -> tuple[Path, dict[str, Any]]:
    model = _model()
    copied = shutil.copytree(model, folder / "model")
    return copied, json.loads((copied / INDEX).read_text())


def _index(folder: Path) -> Try:
    from segpipe.export.index import read_index
    from segpipe.inference.operating_point import OperatingPointRequest, choose_point

    model, valid = _copy(folder)

    def attempt(random: Random) -> None:
        _write_mutated(model, random, valid)
        _, index = read_index(model)
        for asked in (OperatingPointRequest(), OperatingPointRequest(fp_per_scan=1.0)):
            choose_point(index["operating_point"], asked)

    return attempt


def _folder(folder: Path, *, name: str) -> Try:
    """A file of a model folder, with its SHA-256 made again, and all that is opened before a scan is predicted."""
    from segpipe.export.model_folder import load_network, read_model_folder
    from segpipe.inference.engines.engine import OnnxEngine

    model, index = _copy(folder)
    valid = (model / name).read_bytes()
    patch = torch.rand(1, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0))

    def attempt(random: Random) -> None:
        (model / name).write_bytes(mutated_start(random, valid, 2000) if name == WEIGHTS else mutated(random, valid))
        _seal(model, index)
        opened = read_model_folder(model)
        if name == ONNX:
            OnnxEngine(opened.onnx)(patch)
        else:
            load_network(opened)

    return attempt


def _ratings(folder: Path) -> Try:
    """The index of a rating model that rides in the package."""
    from segpipe.export.rating_folder import read_rating_folder
    from segpipe.export.shipped import find_model

    model = shutil.copytree(find_model("lidc-ratings"), folder / "model")
    valid = json.loads((model / INDEX).read_text())

    def attempt(random: Random) -> None:
        _write_mutated(model, random, valid)
        read_rating_folder(model)

    return attempt


def _signature(folder: Path) -> Try:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from segpipe.export.signature import check_signature, write_signature

    key, index = Ed25519PrivateKey.from_private_bytes(bytes(32)), {"checksum": "0"}
    valid = write_signature(folder, index, key).read_bytes()
    read = partial(check_signature, folder, index, key.public_key())
    return file_reader(folder / SIGNATURE, valid, read)


def _weights(folder: Path, *, suffix: str) -> Try:
    from safetensors.torch import save

    from segpipe.training.transfer.weight_files import read_weights

    state = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2, dtype=torch.float16)}
    torch.save({"state_dict": state, "epoch": 3}, stream := io.BytesIO())
    content = save(state) if suffix == ".safetensors" else stream.getvalue()
    return file_reader(folder / f"a{suffix}", content, lambda: read_weights(folder / f"a{suffix}"))


def _checkpoint(folder: Path) -> Try:
    from segpipe.training.checkpoints.files import read_checkpoint

    torch.save({"segpipe": {"a": 1}, "state_dict": {"a": torch.ones(3)}, "epoch": 3}, stream := io.BytesIO())
    return file_reader(folder / "a.ckpt", stream.getvalue(), lambda: read_checkpoint(folder / "a.ckpt"))


MODELS = (
    Reader("model_index", 12, _index),
    Reader("model_weights", 2, partial(_folder, name=WEIGHTS)),
    Reader("model_onnx", 1, partial(_folder, name=ONNX)),
    Reader("rating_index", 1, _ratings),
    Reader("signature", 20, _signature),
    Reader("safetensors", 12, partial(_weights, suffix=".safetensors")),
    Reader("torch_weights", 8, partial(_weights, suffix=".pt")),
    Reader("checkpoint", 8, _checkpoint),
)
