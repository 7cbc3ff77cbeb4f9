"""Engines run a network: one call from patches to the probability of each class, whatever executes it."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

import torch
from torch import nn

from segpipe.errors import ConfigError, ModelError
from segpipe.inference.second_stage import SecondStage
from segpipe.labels import LabelMap
from segpipe.networks.activation import class_probabilities
from segpipe.networks.small_maps import small_maps_in_float32
from segpipe.preprocessing.recipe import Shape
from segpipe.system.machine.turns import take_turn
from segpipe.system.processes.hardware import choose_device, computes_bf16

GPU_BATCH = 4
ONE_CLASS = LabelMap()
_PRECISIONS = {"bf16": "bfloat16", "f32": "float32", "f16": "float16"}
_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
Precision = Literal["auto", "fp32", "bf16"]


class Engine(Protocol):
    """Anything that turns patches (B, 1, x, y, z) in 0…1 into the probability of each class (B, K, x, y, z), float32.

    An engine may have `batch`, the windows per pass that suit it (else 1), `window`, the only shape that it takes,
    `device`, where it would best have its patches (else the CPU), `name`, which says what computes how, and
    `second_stage`, which looks again at what is found by it (else nothing does).
    """

    def __call__(self, patches_bcxyz: torch.Tensor) -> torch.Tensor:
        """Returns the probability of each class, see `segpipe.networks.activation.class_probabilities`.

        They are on the device on which the patches are.

        Raises:
            torch.OutOfMemoryError: when so many patches do not fit into the memory of the device.
        """


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

    second_stage: SecondStage | None = None

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
        with take_turn(threads), half, _ALL_DIGITS, small_maps_in_float32(self.device):
            logits = self.network(patches_bcxyz.to(self.device))
        return class_probabilities(logits.float(), self.labels).to(patches_bcxyz.device)


class AllDigits:
    """What is computed in float32 on a GPU has its 24 bits; by default cuDNN convolves with 11 of them.

    The setting is the process's, and threads compute at once: the first one changes it, the last one puts it back.
    """

    def __init__(self) -> None:
        self._lock, self._inside, self._before = threading.Lock(), 0, True

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._before = torch.backends.cudnn.allow_tf32
                torch.backends.cudnn.allow_tf32 = False
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                torch.backends.cudnn.allow_tf32 = self._before


_ALL_DIGITS = AllDigits()


class OnnxEngine:
    """Runs an exported ONNX model by ONNX Runtime, in float32.

    Args:
        path: The ONNX file.
        labels: The classes.
        window: The only spatial size that it takes, if there is but one.
        device: `auto` takes CUDA where ONNX Runtime computes on it, else the CPU.

    Raises:
        ConfigError: for a device on which this ONNX Runtime does not compute.
        ModelError: when ONNX Runtime cannot open the file.
    """

    second_stage: SecondStage | None = None

    def __init__(
        self, path: Path, labels: LabelMap = ONE_CLASS, *, window: Shape | None = None, device: str = "auto"
    ) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        providers = onnx_providers(device, onnxruntime.get_available_providers())
        try:
            self.session = onnxruntime.InferenceSession(str(path), options, providers=providers)
        except Exception as error:  # ONNX Runtime raises its own, undocumented kinds
            raise ModelError("the ONNX model cannot be opened", facts={"file": path, "found": error}) from error
        on_cuda = _CUDA in self.session.get_providers()  # it goes on without one that does not load
        if device == "cuda" and not on_cuda:
            raise _no_cuda("its CUDA libraries do not load")
        self.input = self.session.get_inputs()[0].name
        self.labels = labels
        self.window = window
        self.threads = 1 if on_cuda else torch.get_num_threads()
        self.batch = GPU_BATCH if on_cuda else 1
        self.name = f"onnxruntime on {'cuda' if on_cuda else 'cpu'}, float32"

    def __call__(self, patches_bcxyz: torch.Tensor) -> torch.Tensor:
        """Returns the probability of each class; see `Engine`."""
        try:
            with take_turn(self.threads):
                (logits, *_) = self.session.run(None, {self.input: patches_bcxyz.numpy()})
        except Exception as error:
            if "Failed to allocate memory" in str(error):  # as its BFC arena says
                raise torch.OutOfMemoryError("ONNX Runtime could not allocate memory") from error
            raise
        return class_probabilities(torch.from_numpy(logits), self.labels)


def onnx_providers(device: str, available: Sequence[str]) -> list[str | tuple[str, dict[str, str]]]:
    """The execution providers to ask ONNX Runtime for, the first of them preferred.

    Args:
        device: auto, cpu or cuda.
        available: What this ONNX Runtime was built with.

    Raises:
        ConfigError: for any other device, or for CUDA where it was built without.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise ConfigError("the backend onnx runs on the CPU or on CUDA", facts={"device": device})
    if device == "cuda" and _CUDA not in available:
        raise _no_cuda(f"providers {', '.join(available)}")
    if device == "cpu" or _CUDA not in available:
        return [_CPU]
    return [(_CUDA, {"use_tf32": "0"}), _CPU]  # float32 all the way, as on the CPU


def _no_cuda(found: str) -> ConfigError:
    return ConfigError(
        "this ONNX Runtime does not compute on CUDA",
        facts={"found": found},
        hint="pip install onnxruntime-gpu instead of onnxruntime, or leave --device out",
    )


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

    second_stage: SecondStage | None = None

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
