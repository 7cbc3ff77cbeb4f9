"""On a GPU: what is chosen, what training and prediction compute next to a CPU, and what happens at its limits."""

import logging

import numpy as np
import pytest
import torch

from segpipe.errors import ConfigError, TrainingError
from segpipe.export.onnx import export_onnx
from segpipe.inference.engines.engine import OnnxEngine, TorchEngine
from segpipe.inference.options import PredictOptions
from segpipe.inference.predictor import predict_case
from segpipe.networks import network_divisor
from segpipe.planning.dry_step import measure_step
from segpipe.system.processes.hardware import choose_compute, computes_bf16
from tests.samples.small_models import SCAN, UNET, network_of

pytestmark = pytest.mark.gpu
LOSS = {"name": "focal", "gamma": 2.0, "lesion_weight": 1.0}


def trainer_for(device: torch.device) -> list[str]:
    return ["trainer=gpu", "trainer.workers=0"] if device.type == "cuda" else ["trainer=cpu"]


def scan():
    """A scan of noise with a bright ball."""
    from segpipe.case import Case
    from segpipe.geometry import Grid

    shape = (60, 50, 30)
    axes = np.meshgrid(*[np.arange(count) for count in shape], indexing="ij")
    ball = sum((axis - count / 2) ** 2 for axis, count in zip(axes, shape, strict=True)) < 64
    hu = np.where(ball, 0, -850) + np.random.default_rng(0).normal(0, 30, shape)
    return Case("a", hu.astype(np.int16), Grid(shape, np.diag([1.0, 1.0, 1.5, 1.0])))


def test_auto_takes_the_gpu(cuda):
    compute = choose_compute("auto")
    assert compute.device.type == "cuda"
    assert compute.precision == ("bf16-mixed" if computes_bf16(cuda) else "16-mixed")
    assert torch.cuda.get_device_name() in compute.describe()


@pytest.mark.parametrize(("precision", "tolerance"), [("32-true", 5e-3), ("bf16-mixed", 3e-2)])
def test_steps_have_the_losses_of_a_cpu_in_float32(device, losses, precision, tolerance):
    found = losses(*trainer_for(device), f"trainer.precision={precision}")
    np.testing.assert_allclose(found, losses("trainer=cpu", "trainer.precision=32-true"), rtol=tolerance)


def test_compiled_steps_have_the_losses_of_others(cuda, losses):
    words = [*trainer_for(cuda), "trainer.precision=32-true"]
    np.testing.assert_allclose(losses(*words, "trainer.compile=true"), losses(*words), rtol=5e-3)


def test_a_step_in_float16_has_the_loss_of_a_cpu_in_float32(cuda, losses):
    found = losses(*trainer_for(cuda), "trainer.precision=16-mixed")
    on_cpu = losses("trainer=cpu", "trainer.precision=32-true")
    np.testing.assert_allclose(found[0], on_cpu[0], rtol=1e-2)  # later ones depend on the scale that is tried first
    assert np.isfinite(found).all()


def test_steps_too_large_for_float16_are_skipped_and_end_the_training(cuda, losses, caplog):
    words = ["trainer.precision=16-mixed", "optimizer=sgd", "optimizer.lr=1e30", "training.max_skipped_steps=2"]
    with caplog.at_level(logging.WARNING, "segpipe"), pytest.raises(TrainingError, match="the training diverged"):
        losses(*trainer_for(cuda), *words, "training.clip_norm=null", "trainer.max_steps=12")
    assert "is skipped, because its" in caplog.text


def test_ddp_with_one_process_has_the_losses_of_one_without(device, losses):
    words = [*trainer_for(device), "trainer.devices=1", "trainer.precision=32-true"]
    alone, together = losses(*words), losses(*words, "trainer.strategy=ddp")
    np.testing.assert_allclose(together, alone, rtol=1e-3)


@pytest.mark.parametrize(("precision", "apart"), [("fp32", 1e-4), ("auto", 3e-2)])
def test_predictions_are_those_of_a_cpu_in_float32(device, precision, apart):
    network, case = network_of({**UNET, "channels": [8, 16]}), scan()
    probabilities = []
    for name, used in (("cpu", "fp32"), (device.type, precision)):
        engine = TorchEngine(network, device=name, precision=used)  # takes the network along
        found = predict_case(case, SCAN, engine, PredictOptions(most_findings=None), divisor=network_divisor(UNET))
        probabilities.append(found.probability)
    on_cpu, found = probabilities
    assert np.abs(found - on_cpu).max() < apart
    clear = np.abs(on_cpu - 0.5) > apart
    np.testing.assert_array_equal(found[clear] >= 0.5, on_cpu[clear] >= 0.5)


def test_a_dry_step_that_is_too_large_for_the_card_is_none(cuda):
    there = torch.cuda.get_device_properties(cuda).total_memory
    side = 2 * round((there / 4) ** (1 / 3) / 2)  # one image in float32 as large as the card
    assert measure_step({**UNET, "channels": [8, 16]}, LOSS, patch=[side] * 3, batch=1) is None
    assert measure_step({**UNET, "channels": [8, 16]}, LOSS, patch=[64] * 3, batch=1) > 64**3 * 4


def test_onnx_runtime_on_the_gpu_has_the_probabilities_of_a_cpu(device, tmp_path):
    network, windows = network_of(UNET), torch.rand(1, 1, *SCAN.patch)
    export_onnx(network, tmp_path / "m.onnx", window=SCAN.patch, divisor=network_divisor(UNET), properties={})
    try:
        engine = OnnxEngine(tmp_path / "m.onnx", device=device.type)
    except ConfigError as error:
        pytest.skip(error.message)
    assert engine.name == f"onnxruntime on {device.type}, float32"
    wanted = TorchEngine(network, device="cpu", precision="fp32")(windows)
    torch.testing.assert_close(engine(windows), wanted, rtol=0, atol=1e-3)


def test_windows_that_do_not_fit_together_go_one_by_one(cuda):
    network, case = network_of({**UNET, "channels": [32, 64]}), scan()
    options, divisor = PredictOptions(most_findings=None), network_divisor(UNET)
    engine = TorchEngine(network, device="cuda", precision="fp32")
    whole = predict_case(case, SCAN, engine, options, divisor=divisor).mask
    passes: list[int] = []

    def limited(patches: torch.Tensor) -> torch.Tensor:
        passes.append(len(patches))
        torch.cuda.empty_cache()
        if len(patches) > 1:  # more than the card has; the allocator itself refuses
            torch.empty(2 * torch.cuda.get_device_properties(cuda).total_memory, dtype=torch.uint8, device=cuda)
        return engine(patches)

    limited.batch, limited.device = engine.batch, engine.device  # type: ignore[attr-defined]
    found = predict_case(case, SCAN, limited, options, divisor=divisor).mask
    np.testing.assert_array_equal(found, whole)
    assert max(passes) > 1
    assert passes[-1] == 1
