"""A small network and what a model folder needs in addition."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback
from torch import nn

from segpipe.export import second_stage, writing
from segpipe.export.model_folder import ModelFolder, write_model_folder
from segpipe.export.second_stage import CandidateLayers, StageModel, StageSpec
from segpipe.networks import build_network
from segpipe.preprocessing.candidate_crop import CandidateCrop
from segpipe.preprocessing.recipe import Recipe

UNET = {
    "name": "unet", "channels": [4, 8], "strides": [2], "num_res_units": 1, "norm": "instance", "act": "leakyrelu",
    "dropout": 0.0,
}  # fmt: skip
RESNET = {
    "name": "resnet_unet",
    "depth": 10,
    "width": 8,
    "strides": [1, 1, [2, 2, 1], 2, 1],
    "norm": "instance",
    "dropout": 0.0,
}
POINT = {"threshold": 0.5, "min_volume_mm3": 0.0, "min_probability": 0.0, "flips": []}
SCAN = Recipe("ct_nodule", (1.0, 1.0, 1.5), (-1000.0, 400.0), (32, 32, 16))
VOI = Recipe("ct_nodule_voi", (1.0, 1.0, 1.5), (-1000.0, 400.0), (32, 32, 8), scope="voi")
FACTS = {
    "data": "phantom",
    "data_hash": "0123456789abcdef",
    "split": {"train": 7, "val": 1, "test": 2},
    "figures": {
        "cases": 2,
        "metrics": {"dice": {"mean": 0.8125, "median": 0.81, "ci95": [0.7, 0.9]}, "f1": {"mean": None}},
        "lesions": {"tp": 3, "fp": 1, "fn": 0, "precision": 0.75, "recall": 1.0, "f1": 0.857},
    },
}


def network_of(spec: dict[str, Any], channels: int = 2) -> nn.Module:
    torch.manual_seed(0)
    return build_network(spec, out_channels=channels).eval()


def example() -> torch.Tensor:
    """A smooth random volume (1, 1, 40, 40, 24) in 0…1."""
    coarse = torch.rand(1, 1, 8, 8, 5, generator=torch.Generator().manual_seed(1))
    return nn.functional.interpolate(coarse, (40, 40, 24), mode="trilinear")


def write_small(path: Path, spec: dict[str, Any] = UNET, recipe: Recipe = SCAN, **changes: Any) -> ModelFolder:
    given = {"operating_point": POINT, "about": FACTS, "example_bcxyz": example(), **changes}
    return write_model_folder(
        path, network=network_of(spec, recipe.label_map.channels), spec=spec, recipe=recipe, **given
    )


def small_stage(seed: int = 0) -> StageModel:
    """A second stage with random weights."""
    spec = StageSpec(
        CandidateCrop((8, 8, 6), (1.0, 1.0, 1.5), (-1000.0, 400.0)), CandidateLayers(channels=[4], dropout=0.1)
    )
    torch.manual_seed(seed)
    return StageModel(spec, spec.build().eval())


def skip_onnx_export() -> None:
    """From now on this process writes an empty file for an ONNX model, whose export takes long."""
    writing._write_onnx = _empty_onnx
    second_stage._write_onnx = _empty_stage_onnx


@contextmanager
def without_onnx_export() -> Iterator[None]:
    """Until its end this process writes an empty file for an ONNX model."""
    before = writing._write_onnx, second_stage._write_onnx
    skip_onnx_export()
    try:
        yield
    finally:
        writing._write_onnx, second_stage._write_onnx = before


def skip_run_reports() -> None:
    """From now on this process draws no report of a run, but that of several folds together."""
    from segpipe.pipelines.observers.run_report import RunReport

    RunReport.finished = lambda *_: None


def skip_reports() -> None:
    """From now on this process draws no reports, which is half of what is left of a small run."""
    from segpipe.pipelines import cross_validation

    skip_run_reports()
    cross_validation.write_evaluation_report = lambda *_, **__: None


@contextmanager
def without_reports_drawn() -> Iterator[None]:
    """Until its end this process draws no reports."""
    from segpipe.pipelines import cross_validation
    from segpipe.pipelines.observers.run_report import RunReport

    before = RunReport.finished, cross_validation.write_evaluation_report
    skip_reports()
    try:
        yield
    finally:
        RunReport.finished, cross_validation.write_evaluation_report = before


def skip_pages() -> None:
    """From now on this process writes neither ONNX models nor reports."""
    skip_onnx_export()
    skip_reports()


def start_no_workers() -> None:
    """Nor does it start processes for cases and patches, which take longer to start than the work of a small run."""
    from segpipe.system.processes import parallel_map
    from segpipe.training.data import datamodule, run_data

    parallel_map.available_cores = run_data.available_cores = lambda: 1
    datamodule.choose_workers = lambda *_, **__: 0


class SkipPages(Callback):
    """Among the callbacks of a configuration: brings `skip_pages` into every process of a run."""

    def __init__(self) -> None:
        skip_pages()


def _empty_onnx(file: Path, *rest: object) -> writing.Parity:
    file.write_bytes(b"")
    return writing.Parity(0.0, ())


def _empty_stage_onnx(file: Path, *rest: object) -> float:
    file.write_bytes(b"")
    return 0.0
