"""A whole thorax in segpipe next to MONAI's sliding window: seconds, memory of the GPU, and whether the masks agree."""

from collections.abc import Iterator

import numpy as np
import torch
from gpu_sizes import Row, Sizes, forget_memory, memory, seconds_once
from gpu_steps import settings_for
from numpy.typing import NDArray

from segpipe.case import Case
from segpipe.config.schema import Settings
from segpipe.geometry import Grid
from segpipe.inference.engines.engine import TorchEngine
from segpipe.inference.options import PredictOptions
from segpipe.inference.predictor import predict_case
from segpipe.networks import build_network, network_divisor
from segpipe.training.fitting import recipe_of

FIT_STEPS = 40
DENSE_HU = -300.0
"""What the network is fitted for a moment to tell from air and lungs, so that masks can be compared."""


def rows(device: torch.device, sizes: Sizes) -> Iterator[Row]:
    """Seconds of segpipe, with and without the search for lungs, and of MONAI's window, in bf16 and float32."""
    settings, case = settings_for("unet", sizes.unet, device, sizes), make_scan(sizes)
    network = _fitted(case, settings, device)
    masks: dict[str, NDArray[np.uint8]] = {}

    def own(name: str, precision: str, options: PredictOptions) -> Row:
        engine = TorchEngine(network, device=device.type, precision=precision)  # type: ignore[arg-type]
        recipe, divisor = recipe_of(settings), network_divisor(settings.network)

        def predict() -> None:
            masks[name] = predict_case(case, recipe, engine, options, divisor=divisor).mask

        return _measured(f"segpipe, {name}", predict, device)

    whole = PredictOptions(region=None, keep_probability=False, measure=False, most_findings=None)
    lungs = PredictOptions(keep_probability=False, measure=False, most_findings=None)
    yield own("first call", "auto", whole)
    yield own("everywhere", "auto", whole)
    yield own("lungs", "auto", lungs)
    yield own("everywhere, float32", "fp32", whole)
    for name, half in (("bf16", torch.bfloat16), ("float32", None)):

        def monai(name: str = name, half: torch.dtype | None = half) -> None:
            masks[f"MONAI {name}"] = slide_by_monai(case, settings, network, device=device, half=half)

        yield _measured(f"MONAI's sliding window on the device, {name}", monai, device)
    for name in ("everywhere", "everywhere, float32", "MONAI bf16"):
        yield Row(f"mask: {name} and MONAI float32", f"Dice {dice(masks[name], masks['MONAI float32']):.4f}")


def _fitted(case: Case, settings: Settings, device: torch.device) -> torch.nn.Module:
    """A network that marks what is dense, roughly."""
    torch.manual_seed(0)
    recipe, network = recipe_of(settings), build_network(settings.network).to(device).train()
    low, high = recipe.window_hu
    optimizer = torch.optim.AdamW(network.parameters(), 2e-3)
    generator = np.random.default_rng(0)
    for _ in range(FIT_STEPS):
        starts = [
            int(generator.integers(max(n - side, 0) + 1))
            for n, side in zip(case.image.shape, recipe.patch, strict=True)
        ]
        box = tuple(slice(start, start + side) for start, side in zip(starts, recipe.patch, strict=True))
        hu = torch.from_numpy(case.image[box].astype(np.float32))[None, None].to(device)
        logits = network(((hu - low) / (high - low)).clamp(0, 1))
        loss = torch.nn.functional.cross_entropy(logits, (hu[:, 0] > DENSE_HU).long())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval()


def make_scan(sizes: Sizes) -> Case:
    """A body of tissue with two lungs, and noise; nothing in it looks like a patient."""
    x, y, z = (np.linspace(-1, 1, count, dtype=np.float32) for count in sizes.scan)
    hu = np.full(sizes.scan, -1000, np.float32)
    body = (x[:, None, None] / 0.8) ** 2 + (y[None, :, None] / 0.55) ** 2 <= 1 + 0 * z
    hu[body] = 40
    for side in (-0.35, 0.35):
        inside = ((x[:, None, None] - side) / 0.25) ** 2 + (y[None, :, None] / 0.4) ** 2 <= 1 - (z[None, None] ** 2)
        hu[inside] = -850
    hu += np.random.default_rng(0).normal(0, 25, sizes.scan).astype(np.float32)
    millimetres = 400 / sizes.scan[0]
    return Case(
        "thorax", hu.astype(np.int16), Grid(sizes.scan, np.diag([millimetres, millimetres, sizes.slice_mm, 1.0]))
    )


@torch.inference_mode()
def slide_by_monai(
    case: Case, settings: Settings, network: torch.nn.Module, *, device: torch.device, half: torch.dtype | None
) -> NDArray[np.uint8]:
    """MONAI's resampling, window and way back, all on the device; windows blend probabilities, as segpipe's do."""
    from monai.data import MetaTensor
    from monai.inferers import sliding_window_inference
    from monai.transforms import Spacing

    recipe = recipe_of(settings)
    low, high = recipe.window_hu
    scan = MetaTensor(
        torch.from_numpy(case.image.astype(np.float32))[None].to(device), affine=torch.tensor(case.grid.affine)
    )
    prepared = Spacing(recipe.spacing_mm, mode="bilinear")(scan).as_tensor().clamp(low, high).sub(low).div(high - low)

    def probability(windows: torch.Tensor) -> torch.Tensor:
        with torch.autocast(device.type, half, enabled=half is not None):
            return network(windows).float().softmax(1)[:, 1:]

    window = sliding_window_inference(prepared[None], recipe.patch, 4, probability, overlap=0.5, mode="gaussian")
    back = torch.nn.functional.interpolate(window, case.image.shape, mode="trilinear")
    mask: NDArray[np.uint8] = (back[0, 0] >= 0.5).to(torch.uint8).cpu().numpy()
    return mask


def dice(mask: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """Overlap of two masks; 1 where both are empty."""
    total = np.count_nonzero(mask) + np.count_nonzero(other)
    return 2 * np.count_nonzero(mask & other) / total if total else 1.0


def _measured(name: str, work: object, device: torch.device) -> Row:
    forget_memory(device)
    seconds = seconds_once(work, device)  # type: ignore[arg-type]
    return Row(name, f"{seconds:7.2f} s {memory(device)}")
