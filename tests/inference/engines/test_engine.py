"""Engines give one foreground probability per voxel, whatever computes it."""

from contextlib import ExitStack
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from segpipe.errors import ConfigError, ModelError
from segpipe.inference.engines.device_memory import FittingBatches
from segpipe.inference.engines.engine import AllDigits, OnnxEngine, TorchEngine, onnx_providers
from segpipe.labels import LabelMap
from segpipe.system.processes.hardware import choose_device, computes_bf16

CUDA = "CUDAExecutionProvider"
PARTS = {1: "rim", 2: "core"}


class Linear(nn.Module):
    """Logits 0 and 4x − 2 (and a third of −3): the sigmoid of 4x − 2 where there are two."""

    def __init__(self, channels=2):
        super().__init__()
        self.channels = channels
        self.conv = nn.Conv3d(1, channels, 1)
        with torch.no_grad():
            self.conv.weight[:] = torch.tensor([0.0, 4.0, 0.0][:channels]).reshape(-1, 1, 1, 1, 1)
            self.conv.bias[:] = torch.tensor([0.0, -2.0, -3.0][:channels])

    def forward(self, patches):
        return self.conv(patches)


PATCH = torch.linspace(0, 1, 2 * 4 * 4 * 4).reshape(2, 1, 4, 4, 4)


def test_two_channels_are_a_sigmoid():
    engine = TorchEngine(Linear(), device="cpu", precision="fp32")
    torch.testing.assert_close(engine(PATCH), torch.sigmoid(4 * PATCH - 2))
    assert engine.name == "torch on cpu, float32"


def test_two_classes_share_a_softmax_with_the_background():
    found = TorchEngine(Linear(3), LabelMap.build(PARTS), device="cpu", precision="fp32")(PATCH)
    first, second = torch.exp(4 * PATCH - 2), torch.full_like(PATCH, np.exp(-3.0))
    torch.testing.assert_close(found, torch.cat([first, second], dim=1) / (1 + first + second))


def test_regions_have_a_sigmoid_each():
    regions = LabelMap.build(PARTS, regions={"whole": [1, 2], "core": [2]})
    found = TorchEngine(Linear(2), regions, device="cpu", precision="fp32")(PATCH)
    torch.testing.assert_close(found, torch.cat([torch.full_like(PATCH, 0.5), torch.sigmoid(4 * PATCH - 2)], dim=1))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_network_with_other_channels_than_the_labels_need_is_refused(channels):
    with pytest.raises(ModelError, match="one channel for each class") as caught:
        TorchEngine(Linear(channels), device="cpu", precision="fp32")(PATCH)
    assert caught.value.facts == {"found": f"{channels} channels", "wanted": "2: background, nodule"}


def test_float32_has_all_its_digits_on_a_gpu_too(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)

    class Asks(nn.Module):
        def forward(self, patches):
            self.reduced = torch.backends.cudnn.allow_tf32
            return torch.cat([torch.zeros_like(patches), patches], dim=1)

    network = Asks()
    TorchEngine(network, device="cpu", precision="fp32")(PATCH)
    assert (network.reduced, torch.backends.cudnn.allow_tf32) == (False, True)


def test_of_two_that_compute_at_once_the_last_one_puts_the_setting_back(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    digits, first, second = AllDigits(), ExitStack(), ExitStack()
    first.enter_context(digits)
    second.enter_context(digits)
    first.close()
    assert torch.backends.cudnn.allow_tf32 is False
    second.close()
    assert torch.backends.cudnn.allow_tf32 is True


def test_bfloat16_is_near_and_named():
    engine = TorchEngine(Linear(), device="cpu", precision="bf16")
    found = engine(PATCH)
    assert found.dtype == torch.float32
    assert engine.name == "torch on cpu, bfloat16"
    torch.testing.assert_close(found, torch.sigmoid(4 * PATCH - 2), atol=0.01, rtol=0)


def test_auto_takes_bfloat16_where_the_hardware_has_it():
    engine = TorchEngine(Linear(), device="cpu")
    assert engine.half == computes_bf16(torch.device("cpu"))


def test_the_network_is_put_into_eval_mode():
    network = nn.Sequential(Linear(), nn.Dropout(0.9)).train()
    engine = TorchEngine(network, device="cpu", precision="fp32")
    torch.testing.assert_close(engine(PATCH), engine(PATCH))


def test_a_device_that_is_not_there_is_reported():
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    with pytest.raises(ConfigError, match="does not have the device") as caught:
        choose_device("cuda")
    assert "cpu" in str(caught.value.facts["has"])


@pytest.fixture
def onnx_file(tmp_path):
    """The network `Linear`."""
    import onnx
    from onnx import TensorProto, helper

    conv = helper.make_node("Conv", ["image", "weight", "bias"], ["logits"])
    weight = helper.make_tensor("weight", TensorProto.FLOAT, [2, 1, 1, 1, 1], [0.0, 4.0])
    bias = helper.make_tensor("bias", TensorProto.FLOAT, [2], [0.0, -2.0])
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["b", 1, "x", "y", "z"])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["b", 2, "x", "y", "z"])
    graph = helper.make_graph([conv], "linear", [image], [logits], [weight, bias])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


def test_onnx_gives_what_torch_gives(onnx_file):
    engine = OnnxEngine(onnx_file, window=(4, 4, 4), device="cpu")
    torch.testing.assert_close(engine(PATCH), torch.sigmoid(4 * PATCH - 2))
    torch.testing.assert_close(engine(PATCH.flip(2)), torch.sigmoid(4 * PATCH.flip(2) - 2))
    assert engine.name == "onnxruntime on cpu, float32"
    assert engine.window == (4, 4, 4)
    assert engine.batch == 1


@pytest.mark.parametrize(
    ("device", "available", "expected"),
    [
        ("auto", ["CPUExecutionProvider"], ["CPUExecutionProvider"]),
        ("cpu", [CUDA, "CPUExecutionProvider"], ["CPUExecutionProvider"]),
        ("auto", [CUDA, "CPUExecutionProvider"], [(CUDA, {"use_tf32": "0"}), "CPUExecutionProvider"]),
        ("cuda", ["TensorrtExecutionProvider", CUDA], [(CUDA, {"use_tf32": "0"}), "CPUExecutionProvider"]),
    ],
)
def test_cuda_is_asked_for_where_onnx_runtime_has_it(device, available, expected):
    assert onnx_providers(device, available) == expected


@pytest.mark.parametrize(
    ("device", "message"), [("mps", "on the CPU or on CUDA"), ("cuda", "this ONNX Runtime does not compute on CUDA")]
)
def test_a_device_without_provider_is_reported(device, message):
    with pytest.raises(ConfigError, match=message):
        onnx_providers(device, ["CPUExecutionProvider"])


class Session:
    """As of an ONNX Runtime with CUDA whose libraries load, or do not; it holds one window."""

    def __init__(self, loads):
        self.loads = loads

    def __call__(self, file, options, providers):
        self.asked = providers
        return self

    def get_providers(self):
        return [CUDA, "CPUExecutionProvider"] if self.loads else ["CPUExecutionProvider"]

    def get_inputs(self):
        return [SimpleNamespace(name="image")]

    def run(self, outputs, inputs):
        if len(inputs["image"]) > 1:
            raise RuntimeError("RUNTIME_EXCEPTION : Failed to allocate memory for requested buffer of size 8")
        return [np.concatenate([np.zeros_like(inputs["image"]), 4 * inputs["image"] - 2], axis=1)]


@pytest.fixture
def with_cuda(monkeypatch):
    """An ONNX Runtime that has CUDA."""

    def make(*, loads: bool) -> Session:
        session = Session(loads)
        monkeypatch.setattr("onnxruntime.get_available_providers", lambda: [CUDA, "CPUExecutionProvider"])
        monkeypatch.setattr("onnxruntime.InferenceSession", session)
        return session

    return make


@pytest.mark.parametrize("loads", [True, False])
def test_what_is_asked_of_onnx_runtime_and_what_it_chose(onnx_file, with_cuda, loads):
    session = with_cuda(loads=loads)
    engine = OnnxEngine(onnx_file)
    assert session.asked == [(CUDA, {"use_tf32": "0"}), "CPUExecutionProvider"]
    assert engine.name == f"onnxruntime on {'cuda' if loads else 'cpu'}, float32"


def test_cuda_whose_libraries_do_not_load_is_refused_by_its_name(onnx_file, with_cuda):
    with_cuda(loads=False)
    with pytest.raises(ConfigError, match="does not compute on CUDA") as caught:
        OnnxEngine(onnx_file, device="cuda")
    assert caught.value.facts["found"] == "its CUDA libraries do not load"


def test_memory_that_onnx_runtime_lacks_is_as_that_of_pytorch(onnx_file, monkeypatch):
    monkeypatch.setattr("onnxruntime.InferenceSession", Session(loads=True))
    engine = OnnxEngine(onnx_file)
    with pytest.raises(torch.OutOfMemoryError):
        engine(PATCH)
    torch.testing.assert_close(FittingBatches(engine)(PATCH), torch.sigmoid(4 * PATCH - 2))


def test_a_damaged_onnx_file_is_reported(tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"no model")
    with pytest.raises(ModelError, match="the ONNX model cannot be opened"):
        OnnxEngine(tmp_path / "m.onnx")
