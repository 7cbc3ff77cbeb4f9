"""The exported ONNX model on the device: how far its probabilities are from PyTorch's in float32, and its speed."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from gpu_sizes import Row, Sizes, seconds_each
from gpu_steps import settings_for

from segpipe.export.onnx import INPUT, OUTPUT, export_onnx
from segpipe.inference.engines.engine import TorchEngine
from segpipe.networks import build_network, network_divisor
from segpipe.networks.activation import class_probabilities
from segpipe.training.fitting import recipe_of

PROVIDERS = {"cuda": "CUDAExecutionProvider", "cpu": "CPUExecutionProvider"}


def rows(device: torch.device, sizes: Sizes) -> Iterator[Row]:
    """The largest difference of a probability from float32 on a CPU, and windows per second of both."""
    import onnxruntime

    provider = PROVIDERS[device.type]
    if provider not in onnxruntime.get_available_providers():
        yield Row(f"onnxruntime {onnxruntime.__version__}", f"has no {provider}; pip install onnxruntime-gpu")
        return
    settings = settings_for("unet", sizes.unet, device, sizes)
    torch.manual_seed(0)
    network, recipe = build_network(settings.network).eval(), recipe_of(settings)
    windows = torch.rand(sizes.batch, 1, *recipe.patch)
    with tempfile.TemporaryDirectory() as folder:
        file, divisor = Path(folder) / "model.onnx", network_divisor(settings.network)
        export_onnx(network, file, window=recipe.patch, divisor=divisor, properties={})
        session = onnxruntime.InferenceSession(str(file), providers=list(dict.fromkeys([provider, PROVIDERS["cpu"]])))
    reference = TorchEngine(network, device="cpu", precision="fp32")(windows)

    def run() -> torch.Tensor:
        (logits,) = session.run([OUTPUT], {INPUT: windows.numpy()})
        return class_probabilities(torch.from_numpy(logits), recipe.label_map)

    engine = TorchEngine(network, device=device.type)
    for name, found, work in (
        (f"onnxruntime by {session.get_providers()[0]}", run(), run),
        (engine.name, engine(windows), lambda: engine(windows)),
    ):
        speed = sizes.batch / seconds_each(work, device, sizes)
        difference = float((found - reference).abs().max())
        yield Row(f"{name}, next to float32 on a CPU", f"{difference:.1e} apart, {speed:.1f} windows/s")
