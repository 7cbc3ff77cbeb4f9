"""Fills a model folder, file by file, and lists the files with their SHA-256 in an index."""

import hashlib
import io
import json
import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from segpipe import __version__
from segpipe.errors import ModelError
from segpipe.export.bundle import inference_config
from segpipe.export.card import licence_note, model_card
from segpipe.export.export_spec import (
    CARD,
    EXPORTED,
    FORMAT,
    INDEX,
    INFERENCE,
    METADATA,
    MONAI_WEIGHTS,
    ONNX,
    PROGRAM,
    TORCHSCRIPT,
    WEIGHTS,
    Release,
    plain,
)
from segpipe.export.metadata import bundle_metadata
from segpipe.export.onnx import INPUT, OPSET, OUTPUT, export_onnx, open_onnx
from segpipe.export.parity import Parity, check_parity, parity_patches
from segpipe.export.program import export_program, write_program
from segpipe.export.second_stage import write_stage
from segpipe.export.weights import weights_as_bytes
from segpipe.networks.probe import InputSizes
from segpipe.system.machine.versions import versions_of

log = logging.getLogger(__name__)
LIBRARIES = ("torch", "monai", "onnx", "onnxruntime", "numpy")


def fill_folder(folder: Path, release: Release, example_bcxyz: torch.Tensor) -> Parity:
    """Writes every file of a model folder into an empty folder, the index last.

    Raises:
        ModelError: when PyTorch and ONNX Runtime disagree on the example.
        OSError: when a file cannot be written.
    """
    release = replace(release, operating_point=plain(release.operating_point), about=plain(release.about))
    for name in ("configs", "docs", "models"):
        (folder / name).mkdir()
    _write_weights(folder, release)
    release, parity = (_write_shipped if release.shipped else _write_foreign)(folder, release, example_bcxyz)
    stage = write_stage(folder, release.second_stage) if release.second_stage else None
    _write_json(folder / METADATA, bundle_metadata(release.for_other_tools))
    _write_json(folder / INFERENCE, inference_config(release.for_other_tools))
    (folder / CARD).write_text(model_card(release, parity), encoding="utf-8")
    (folder / "LICENSE").write_text(licence_note(release), encoding="utf-8")
    further = {"second_stage": stage} if stage else {}
    _write_json(folder / INDEX, _index(folder, release, parity, further))
    return parity


def checksum(index: Mapping[str, Any]) -> str:
    """SHA-256 of the index's content without its own checksum."""
    content = {key: value for key, value in index.items() if key != "checksum"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _write_shipped(folder: Path, release: Release, example_bcxyz: torch.Tensor) -> tuple[Release, Parity]:
    patches = parity_patches(example_bcxyz, window=release.window, divisor=release.free_divisor)
    if release.monai is None:
        _write_torchscript(folder / TORCHSCRIPT, release, patches)
    return release, _write_onnx(folder / ONNX, release, patches, release.network)


def _write_foreign(folder: Path, release: Release, example_bcxyz: torch.Tensor) -> tuple[Release, Parity]:
    """Programs for all sizes that the network takes, or, where tracing finds no rule for them, for the window alone."""
    window = InputSizes(release.window, fixed=True)
    if release.sizes.fixed:
        return _write_programs(folder, release, example_bcxyz)
    try:
        return _write_programs(folder, release, example_bcxyz)
    except ModelError as error:
        log.info("the network is exported for windows of its patch alone: %s", error.facts.get("found", error.message))
        return _write_programs(folder, replace(release, settled=window), example_bcxyz)


def _write_programs(folder: Path, release: Release, example_bcxyz: torch.Tensor) -> tuple[Release, Parity]:
    patches = parity_patches(example_bcxyz, window=release.window, divisor=release.free_divisor)
    program = export_program(release.network, window=release.window, divisor=release.free_divisor)
    check_parity(release.network, program.module(), patches, name="the exported program", exclusive=release.exclusive)
    write_program(folder / PROGRAM, program)
    return release, _write_onnx(folder / ONNX, release, patches, program)


def _write_weights(folder: Path, release: Release) -> None:
    state = release.network.state_dict()
    metadata = {"format": "pt", "recipe_digest": release.recipe.digest, "segpipe_version": __version__}
    (folder / WEIGHTS).write_bytes(weights_as_bytes(state, metadata))
    if release.monai is not None:
        (folder / MONAI_WEIGHTS).write_bytes(_monai_weights(release.monai, state))


def _monai_weights(definition: Mapping[str, Any], state: Mapping[str, torch.Tensor]) -> bytes:
    """The state dict of MONAI's own class, for MONAI's tools; segpipe never reads it."""
    from monai.networks import nets

    arguments = {key: value for key, value in definition.items() if key != "_target_"}
    network = getattr(nets, definition["_target_"].rsplit(".", maxsplit=1)[-1])(**arguments)
    # MONAI's DynUNet lists its tensors under two names, of which segpipe's has one.
    network.load_state_dict(state, strict=False)
    buffer = io.BytesIO()
    torch.save(network.state_dict(), buffer)
    return buffer.getvalue()


def _write_torchscript(file: Path, release: Release, patches: Sequence[torch.Tensor]) -> None:
    """A network that MONAI lacks travels as TorchScript, which needs no class to be opened."""
    trace: Callable[..., Any] = torch.jit.trace
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # torch prefers torch.export, whose programs refuse some sizes
        traced = trace(release.network, torch.rand(1, 1, *release.window), check_trace=False)
        buffer = io.BytesIO()
        torch.jit.save(traced, buffer)
    check_parity(release.network, traced, patches, name="TorchScript", exclusive=release.exclusive)
    file.write_bytes(buffer.getvalue())


def _write_onnx(
    file: Path,
    release: Release,
    patches: Sequence[torch.Tensor],
    network: torch.nn.Module | torch.export.ExportedProgram,
) -> Parity:
    release = release.for_other_tools
    metadata = {
        "recipe": release.recipe.to_dict(),
        "labels": release.recipe.label_map.class_names,
        "divisor": release.divisor,
        "fixed_shape": release.fixed_shape,
        "threshold": release.threshold,
        "min_volume_mm3": release.min_volume_mm3,
        "min_probability": release.min_probability,
        **({"operating_points": release.class_points} if release.class_points else {}),
    }
    properties = {
        "segpipe_version": __version__,
        "recipe_digest": release.recipe.digest,
        **{key: json.dumps(plain(value)) for key, value in metadata.items()},
    }
    export_onnx(network, file, window=release.window, divisor=release.free_divisor, properties=properties)
    return check_parity(release.network, open_onnx(file), patches, name="ONNX Runtime", exclusive=release.exclusive)


def _index(folder: Path, release: Release, parity: Parity, further: Mapping[str, Any]) -> dict[str, Any]:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    index: dict[str, Any] = plain(
        {
            "format": FORMAT,
            "segpipe_version": __version__,
            "recipe": release.recipe.to_dict(),
            "recipe_digest": release.recipe.digest,
            "labels": [asdict(label) for label in release.recipe.label_map.classes],
            "network": release.spec if release.shipped else {"name": EXPORTED, "built_from": release.spec},
            "divisor": release.divisor,
            "onnx": {
                "input": INPUT,
                "output": OUTPUT,
                "opset": OPSET,
                "fixed_shape": release.fixed_shape,
                "parity": asdict(parity),
            },
            "operating_point": release.operating_point,
            **further,
            "facts": release.about,
            "versions": versions_of(LIBRARIES),
            "files": {file.relative_to(folder).as_posix(): _digest(file) for file in files},
        }
    )
    return {**index, "checksum": checksum(index)}


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _write_json(file: Path, content: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
