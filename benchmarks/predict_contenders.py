"""The contenders of `predict.py`: each reads a scan, runs the network of a model folder and writes a mask.

python benchmarks/predict_contenders.py monai|nnunetv2 MODEL SCAN OUTPUT
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from segpipe.export.model_folder import ModelFolder, load_network, read_model_folder, write_model_folder
from segpipe.preprocessing.recipe import Recipe

FIT_STEPS, FIT_RATE = 200, 2e-3
TUMOURS_MM = ((-90.0, 0.0, 40.0, 12.0), (80.0, 30.0, -30.0, 18.0), (95.0, -20.0, 20.0, 8.0))
"""Of the phantom: centre next to the scan's middle, and radius."""


def run_monai(model: ModelFolder, scan: Path, output: Path) -> None:
    """The pipeline of MONAI's bundles: prepare, slide, invert the probabilities, take the larger, save.

    Windows blend their probabilities, as segpipe's do; blended logits would be another mask, not another speed.
    """
    from monai.data import DataLoader, Dataset, decollate_batch
    from monai.inferers import sliding_window_inference
    from monai.transforms import (
        AsDiscreted,
        Compose,
        EnsureChannelFirstd,
        Invertd,
        LoadImaged,
        Orientationd,
        SaveImaged,
        ScaleIntensityRanged,
        Spacingd,
    )

    recipe, network = model.recipe, load_network(model)
    low, high = recipe.window_hu
    prepare = Compose(
        [
            LoadImaged("image"),
            EnsureChannelFirstd("image"),
            Orientationd("image", axcodes=recipe.orientation),
            Spacingd("image", pixdim=recipe.spacing_mm, mode="bilinear"),
            ScaleIntensityRanged("image", low, high, 0.0, 1.0, clip=True),
        ]
    )
    finish = Compose(
        [
            Invertd("pred", transform=prepare, orig_keys="image", nearest_interp=False, to_tensor=True),
            AsDiscreted("pred", argmax=True),
            SaveImaged("pred", output_dir=output, output_postfix="", separate_folder=False, output_dtype=np.uint8),
        ]
    )
    for batch in DataLoader(Dataset([{"image": str(scan)}], prepare), batch_size=1):
        with torch.inference_mode():
            batch["pred"] = sliding_window_inference(
                batch["image"], recipe.patch, 1, nn.Sequential(network, nn.Softmax(dim=1)), overlap=0.5, mode="gaussian"
            )
        for item in decollate_batch(batch):
            finish(item)


def run_nnunet(model: ModelFolder, scan: Path, output: Path) -> None:
    """nnU-Net's predictor with its default resampling and export; the window is given as a CT normalisation."""
    os.environ.setdefault("nnUNet_def_n_proc", str(os.cpu_count()))
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    network = _InItkOrder(load_network(model))
    plans = PlansManager(_plans(model.recipe))
    dataset = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "tumour": 1}, "file_ending": ".nii.gz"}
    predictor = nnUNetPredictor(
        tile_step_size=0.5, use_gaussian=True, use_mirroring=False, device=torch.device("cpu"), allow_tqdm=False
    )
    predictor.manual_initialization(
        network, plans, plans.get_configuration("3d_fullres"), [network.state_dict()], dataset, "nnUNetTrainer", None
    )
    name = scan.name.removesuffix(".nii.gz")
    predictor.predict_from_files_sequential([[str(scan)]], [str(output / name)], save_probabilities=False)


class _InItkOrder(nn.Module):
    """The network for arrays (z, y, x) that run to the left and to the back, as nnU-Net reads them."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        turned = patches.permute(0, 1, 4, 3, 2).flip(2, 3)
        result: torch.Tensor = self.network(turned)
        return result.flip(2, 3).permute(0, 1, 4, 3, 2)


def _plans(recipe: Recipe) -> dict[str, Any]:
    """What nnU-Net's planner would write: cubic resampling of scans, linear of logits."""
    low, high = recipe.window_hu
    resample = "resample_data_or_seg_to_shape"
    cubic = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
    linear = {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None}
    labels = {"is_seg": True, "order": 1, "order_z": 0, "force_separate_z": None}
    configuration = {
        "data_identifier": "plans",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 1,
        "patch_size": recipe.patch[::-1],
        "spacing": recipe.spacing_mm[::-1],
        "normalization_schemes": ["CTNormalization"],
        "use_mask_for_norm": [False],
        "resampling_fn_data": resample,
        "resampling_fn_data_kwargs": cubic,
        "resampling_fn_seg": resample,
        "resampling_fn_seg_kwargs": labels,
        "resampling_fn_probabilities": resample,
        "resampling_fn_probabilities_kwargs": linear,
        "architecture": {"network_class_name": "", "arch_kwargs": {}, "_kw_requires_import": []},
    }
    intensities = {"mean": low, "std": high - low, "percentile_00_5": low, "percentile_99_5": high}
    return {
        "dataset_name": "benchmark",
        "plans_name": "plans",
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": {"3d_fullres": configuration},
        "foreground_intensity_properties_per_channel": {"0": intensities},
        "label_manager": "LabelManager",
        "experiment_planner_used": "ExperimentPlanner",
    }


def prepare(
    scan: Path, model: Path, *, spacing_mm: Sequence[float], patch: Sequence[int], channels: Sequence[int]
) -> None:
    """Writes a scan, and a model that was fitted for a moment to its tumour.

    The scan is LUNG1-001 of `$SEGPIPE_REALDATA` with its GTV-1, or a phantom.
    """
    source = Path(os.environ.get("SEGPIPE_REALDATA", "")) / "nsclc_radiomics" / "LUNG1-001"
    tumour = model.with_name("tumour.nii.gz")
    scan.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        made = model.with_name("ingested")
        words = ["--source", "nsclc-radiomics", "--input", str(source), "--output", str(made)]
        subprocess.run([sys.executable, "-m", "segpipe", "ingest", *words], check=True)
        for kind, file in (("images", scan), ("masks", tumour)):
            shutil.copyfile(next((made / kind).iterdir()), file)
    else:
        write_phantom(scan, tumour)
    fit_model(model, scan, tumour, spacing_mm=spacing_mm, patch=patch, channels=channels)


def prepare_large(scan: Path, model: Path, *, shape: tuple[int, int, int]) -> None:
    """Writes a phantom of a shape, and a small model that was fitted for a moment to the tumours of a smaller one."""
    small, tumour = model.with_name("small.nii.gz"), model.with_name("small_tumour.nii.gz")
    write_phantom(scan, model.with_name("large_tumour.mha"), shape, slice_mm=0.35)
    write_phantom(small, tumour, (256, 256, 100), slice_mm=3.5)
    fit_model(model, small, tumour, spacing_mm=(2.0, 2.0, 2.0), patch=(96, 96, 96), channels=(8, 16, 32))


def write_phantom(
    file: Path, tumour: Path, shape: tuple[int, int, int] = (512, 512, 134), *, slice_mm: float = 3.0
) -> None:
    """A body of tissue with two lungs, a spine and three tumours."""
    from segpipe.geometry import Grid
    from segpipe.io.images.volumes import write_volume

    file.parent.mkdir(parents=True, exist_ok=True)
    spacing_mm = (500 / shape[0], 500 / shape[1], slice_mm)
    x, y, z = (np.linspace(-1, 1, count, dtype=np.float32) for count in shape)
    millimetres = [axis * count * mm / 2 for axis, count, mm in zip((x, y, z), shape, spacing_mm, strict=True)]
    image, mask = np.full(shape, -1000, np.int16), np.zeros(shape, np.uint8)
    noise = np.random.default_rng(0)
    for number, height in enumerate(z):
        plane = np.full(shape[:2], -1000.0, np.float32)
        plane[(x[:, None] / 0.8) ** 2 + (y[None] / 0.55) ** 2 <= 1] = 40
        for side in (-0.35, 0.35):
            plane[((x[:, None] - side) / 0.25) ** 2 + (y[None] / 0.4) ** 2 <= 1 - height**2] = -850
        plane[(x[:, None] / 0.06) ** 2 + ((y[None] - 0.45) / 0.06) ** 2 <= 1] = 600
        for left, back, up, radius in TUMOURS_MM:
            apart = (millimetres[0][:, None] - left) ** 2 + (millimetres[1][None] - back) ** 2
            mask[:, :, number] |= apart + (millimetres[2][number] - up) ** 2 <= radius**2
        plane[mask[:, :, number] > 0] = 40
        image[:, :, number] = plane + noise.normal(0, 25, shape[:2])
    grid = Grid(shape, np.diag([-spacing_mm[0], -spacing_mm[1], spacing_mm[2], 1.0]))
    write_volume(file, image, grid)
    write_volume(tumour, mask, grid)


def fit_model(
    folder: Path,
    scan: Path,
    tumour: Path,
    *,
    spacing_mm: Sequence[float],
    patch: Sequence[int],
    channels: Sequence[int],
) -> None:
    """Fits a U-Net for a moment to find the tumour in the scan, and writes its model folder."""
    from monai.losses import DiceCELoss

    from segpipe.io.images.volumes import read_volume
    from segpipe.networks import build_network
    from segpipe.preprocessing.resampling import apply_window, plan_preparation, resample_to_recipe
    from segpipe.system.processes.hardware import computes_bf16

    recipe = Recipe("benchmark", tuple(spacing_mm), (-1000.0, 400.0), tuple(patch))  # type: ignore[arg-type]
    unet = {"name": "unet", "channels": list(channels), "strides": [2] * (len(channels) - 1), "num_res_units": 2}
    spec = {**unet, "norm": "instance", "act": "leakyrelu", "dropout": 0.0}
    volumes = [read_volume(file) for file in (scan, tumour)]
    hu, inside = (resample_to_recipe(it.array, plan_preparation(it.grid, recipe)) for it in volumes)
    image, label = apply_window(hu, recipe), inside > 0.5
    torch.manual_seed(0)
    network = build_network(spec)
    optimizer = torch.optim.AdamW(network.parameters(), FIT_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, FIT_RATE, FIT_STEPS)
    wanted = DiceCELoss(softmax=True, to_onehot_y=True)
    for patches, labels in _patches(image, label, recipe.patch):
        with torch.autocast("cpu", torch.bfloat16, enabled=computes_bf16(torch.device("cpu"))):
            logits = network(patches)
        loss = wanted(logits.float(), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    write_model_folder(
        folder,
        network=network.eval(),
        spec=spec,
        recipe=recipe,
        operating_point={"threshold": 0.5, "min_volume_mm3": 0.0, "min_probability": 0.0, "flips": []},
        about={"data": "one scan, for a benchmark"},
        example_bcxyz=image[None, None, 64:160, 64:160, 32:80],
    )


def _patches(
    image: torch.Tensor, label: torch.Tensor, size: Sequence[int]
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Pairs of patches of a window's size: one around a voxel of the tumour, one anywhere."""
    places = torch.nonzero(label)
    generator = torch.Generator().manual_seed(0)
    for _ in range(FIT_STEPS):
        tumour = places[int(torch.randint(len(places), (1,), generator=generator))]
        anywhere = torch.tensor([int(torch.randint(n, (1,), generator=generator)) for n in label.shape])
        boxes = []
        for middle in (tumour, anywhere):
            ends = zip(middle, size, label.shape, strict=True)
            starts = [min(max(int(c) - side // 2, 0), n - side) for c, side, n in ends]
            boxes.append(tuple(slice(start, start + side) for start, side in zip(starts, size, strict=True)))
        yield torch.stack([image[box] for box in boxes])[:, None], torch.stack([label[box] for box in boxes])[:, None]


if __name__ == "__main__":
    which, model_folder, scan_file, output_folder = sys.argv[1:]
    run = {"monai": run_monai, "nnunetv2": run_nnunet}[which]
    run(read_model_folder(Path(model_folder)), Path(scan_file), Path(output_folder))
