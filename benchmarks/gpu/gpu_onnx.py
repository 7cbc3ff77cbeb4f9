"""The exported ONNX model on the device: how far its probabilities are from PyTorch's in float32, and its speed."""

import tempfile
from collections.abc import Iterator
from copy import deepcopy
from functools import partial
from pathlib import Path

import torch
from gpu_sizes import Row, Sizes, seconds_each, seconds_once
from gpu_steps import settings_for

from segpipe.export.onnx import export_onnx
from segpipe.inference.engines.engine import OnnxEngine, TorchEngine
from segpipe.networks import build_network, network_divisor
from segpipe.training.fitting import recipe_of


def rows(device: torch.device, sizes: Sizes) -> Iterator[Row]:
    """The largest difference of a probability from float32 on a CPU, and windows per second of both."""
    settings = settings_for("unet", sizes.unet, device, sizes)
    torch.manual_seed(0)
    network, recipe = build_network(settings.network).eval(), recipe_of(settings)
    windows = torch.rand(sizes.batch, 1, *recipe.patch)
    with tempfile.TemporaryDirectory() as folder:
        file, divisor = Path(folder) / "model.onnx", network_divisor(settings.network)
        export_onnx(network, file, window=recipe.patch, divisor=divisor, properties={})
        exported = OnnxEngine(file)
    reference = TorchEngine(network, device="cpu", precision="fp32")(windows)
    exact = TorchEngine(deepcopy(network), device=device.type, precision="fp32")
    for engine in (exported, exact, TorchEngine(network, device=device.type)):
        difference = float((engine(windows) - reference).abs().max())
        elsewhere = engine is exported and f" {device.type}," not in engine.name  # a CPU would take all the time
        seconds = (seconds_once if elsewhere else partial(seconds_each, sizes=sizes))(partial(engine, windows), device)
        what = f"{difference:.1e} apart, {sizes.batch / seconds:.1f} windows/s"
        yield Row(f"{engine.name}, next to float32 on a CPU", what)
