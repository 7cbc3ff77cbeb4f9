"""Engines run a network: one call from patches to the probability of each class, whatever executes it."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import nn

from segpipe.errors import ConfigError, ModelError
from segpipe.labels import LabelMap
from segpipe.networks.activation import class_probabilities
from segpipe.networks.small_maps import small_maps_in_float32
from segpipe.preprocessing.recipe import Shape
from segpipe.system.cpu.turns import take_turn
from segpipe.system.hardware import choose_device, computes_bf16

GPU_BATCH = 4
ONE_CLASS = LabelMap()
_PRECISIONS = {"bf16": "bfloat16", "f32": "float32", "f16": "float16"}
Precision = Literal["auto", "fp32", "bf16"]


class Engine(Protocol):
    """Anything that turns patches (B, 1, x, y, z) in 0…1 into the probability of each class (B, K, x, y, z), float32.

    An engine may have `batch`, the windows per pass that suit it (else 1), `window`, the only shape that it takes, and
    `name`, which says what computes how.
    """

    def __call__(self, patches_bcxyz: torch.Tensor) -> torch.Tensor:
        """Returns the probability of each class, on the CPU; see `segpipe.networks.activation.class_probabilities`."""


class TorchEngine:
    """Runs a PyTorch network.

    Args:
        network: Gives logits (B, C, x, y, z) in eval mode; put into eval mode and moved to the device.
        labels: The classes.
        device: `auto` takes CUDA, else MPS, else the CPU.
        precision: `auto` takes bfloat16 where the hardware computes in it, else float32, and then not cuDNN's TF32,
            which has the range of float32 and the digits of float16.

    Raises:
        ConfigError: for a device that this machine does not have.
    """

    def __init__(
        self,
        network: nn.Module,
        labels: LabelMap = ONE_CLASS,
        *,
        device: str = "auto",
        precision: Precision = "auto",
    ) -> None:
        self.labels = labels
        self.device = choose_device(device)
        self.half = precision == "bf16" or (precision == "auto" and computes_bf16(self.device))
        self.batch = 1 if self.device.type == "cpu" else GPU_BATCH
        self.network = network.eval().to(self.device)
        self.name = f"torch on {self.device.type}, {'bfloat16' if self.half else 'float32'}"

    @torch.inference_mode()
    def __call__(self, patches_bcxyz: torch.Tensor) -> torch.Tensor:
        """Returns the probability of each class; see `Engine`."""
        half = torch.autocast(self.device.type, torch.bfloat16, enabled=self.half)
        threads = torch.get_num_threads() if self.device.type == "cpu" else 1
        with take_turn(threads), half, _all_digits(), small_maps_in_float32(self.device):
            logits = self.network(patches_bcxyz.to(self.device))
        return class_probabilities(logits.float(), self.labels).cpu()


def _all_digits() -> AbstractContextManager[None]:
    """What is computed in float32 on a GPU has its 24 bits; by default cuDNN convolves with 11 of them."""
    cudnn: Any = torch.backends.cudnn
    flags: AbstractContextManager[None] = cudnn.flags(
        enabled=cudnn.enabled, benchmark=cudnn.benchmark, deterministic=cudnn.deterministic, allow_tf32=False
    )
    return flags


class OnnxEngine:
    """Runs an exported ONNX model by ONNX Runtime, in float32.

    Args:
        path: The ONNX file.
        labels: The classes.
        window: The only spatial size that it takes, if there is but one.
        threads: As many as PyTorch uses, unless given.

    Raises:
        ModelError: when ONNX Runtime cannot open the file.
    """

    def __init__(
        self, path: Path, labels: LabelMap = ONE_CLASS, *, window: Shape | None = None, threads: int | None = None
    ) -> None:
        import onnxruntime

        self.threads = threads or torch.get_num_threads()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        try:
            self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime raises its own, undocumented kinds
            raise ModelError("the ONNX model cannot be opened", facts={"file": path, "found": error}) from error
        self.input = self.session.get_inputs()[0].name
        self.labels = labels
        self.window = window
        self.name = "onnxruntime on cpu, float32"

    def __call__(self, patches_bcxyz: torch.Tensor) -> torch.Tensor:
        """Returns the probability of each class; see `Engine`."""
        with take_turn(self.threads):
            (logits, *_) = self.session.run(None, {self.input: patches_bcxyz.numpy()})
        return class_probabilities(torch.from_numpy(logits), self.labels)


class OpenVinoEngine:
    """Runs an exported ONNX model by OpenVINO on the CPU.

    OpenVINO chooses bfloat16 by itself where the hardware computes in it; `name` says what it chose.

    Args:
        path: The ONNX file.
        labels: The classes.
        window: The only spatial size that it takes, if there is but one.
        exact: Compute in float32.

    Raises:
        ConfigError: when OpenVINO is not installed.
        ModelError: when it cannot open the file.
    """

    def __init__(
        self, path: Path, labels: LabelMap = ONE_CLASS, *, window: Shape | None = None, exact: bool = False
    ) -> None:
        try:
            import openvino
        except ImportError as error:
            raise ConfigError("OpenVINO is not installed", hint="pip install 'segpipe[openvino]'") from error

        settings: dict[str, object] = {"INFERENCE_NUM_THREADS": torch.get_num_threads()}
        if exact:
            settings["INFERENCE_PRECISION_HINT"] = "f32"
        try:
            core = openvino.Core()
            self.model = core.compile_model(core.read_model(path), "CPU", settings)
        except RuntimeError as error:
            raise ModelError("the ONNX model cannot be opened", facts={"file": path, "found": error}) from error
        self.labels = labels
        self.window = window
        precision = self.model.get_property("INFERENCE_PRECISION_HINT").to_string()
        self.name = f"openvino on cpu, {_PRECISIONS.get(precision, precision)}"

    def __call__(self, patches_bcxyz: torch.Tensor) -> torch.Tensor:
        """Returns the probability of each class; see `Engine`."""
        with take_turn(torch.get_num_threads()):
            logits = self.model(patches_bcxyz.contiguous().numpy())[0]
        return class_probabilities(torch.from_numpy(logits), self.labels)
