"""The contenders of `predict.py`: each reads a scan, runs the network of a model folder and writes a mask.

python benchmarks/predict_contenders.py monai|nnunetv2 MODEL SCAN OUTPUT
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from segpipe.export.model_folder import ModelFolder, load_network, read_model_folder, write_model_folder
from segpipe.preprocessing.recipe import Recipe

BONE_HU = 250
FIT_STEPS = 60


def run_monai(model: ModelFolder, scan: Path, output: Path) -> None:
    """The pipeline of MONAI's bundles: prepare, slide, invert the probabilities, take the larger, save."""
    from monai.data import DataLoader, Dataset, decollate_batch
    from monai.inferers import sliding_window_inference
    from monai.transforms import (
        Activationsd,
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
            Activationsd("pred", softmax=True),
            Invertd("pred", transform=prepare, orig_keys="image", nearest_interp=False, to_tensor=True),
            AsDiscreted("pred", argmax=True),
            SaveImaged("pred", output_dir=output, output_postfix="", separate_folder=False, output_dtype=np.uint8),
        ]
    )
    for batch in DataLoader(Dataset([{"image": str(scan)}], prepare), batch_size=1):
        with torch.inference_mode():
            batch["pred"] = sliding_window_inference(
                batch["image"], recipe.patch, 1, network, overlap=0.5, mode="gaussian"
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
    dataset = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "bone": 1}, "file_ending": ".nii.gz"}
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


def write_scan(file: Path) -> None:
    """Writes LUNG1-001 of `$SEGPIPE_REALDATA` as NIfTI, read by SimpleITK; a phantom where there is none."""
    import SimpleITK as sitk  # noqa: N813

    file.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(os.environ.get("SEGPIPE_REALDATA", "")) / "nsclc_radiomics" / "LUNG1-001"
    if folder.is_dir():
        series = max(
            (sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), uid)
             for uid in sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))),
            key=len,
        )  # fmt: skip
        sitk.WriteImage(sitk.Cast(sitk.ReadImage(series), sitk.sitkInt16), str(file))
        return
    write_phantom(file)


def write_phantom(file: Path, shape: tuple[int, int, int] = (512, 512, 134), slice_mm: float = 3.0) -> None:
    """A body of tissue with two lungs and bones."""
    from segpipe.geometry import Grid
    from segpipe.io.volumes import write_volume

    file.parent.mkdir(parents=True, exist_ok=True)
    x, y, z = (np.linspace(-1, 1, count, dtype=np.float32) for count in shape)
    image = np.full(shape, -1000, np.int16)
    noise = np.random.default_rng(0)
    for number, height in enumerate(z):
        plane = np.full(shape[:2], -1000.0, np.float32)
        plane[(x[:, None] / 0.8) ** 2 + (y[None] / 0.55) ** 2 <= 1] = 40
        for side in (-0.35, 0.35):
            plane[((x[:, None] - side) / 0.25) ** 2 + (y[None] / 0.4) ** 2 <= 1 - height**2] = -850
        plane[(x[:, None] / 0.06) ** 2 + ((y[None] - 0.45) / 0.06) ** 2 <= 1] = 600
        image[:, :, number] = plane + noise.normal(0, 25, shape[:2])
    write_volume(file, image, Grid(shape, np.diag([-500 / shape[0], -500 / shape[1], slice_mm, 1.0])))


def fit_model(
    folder: Path, scan: Path, *, spacing_mm: Sequence[float], patch: Sequence[int], channels: Sequence[int]
) -> None:
    """Fits a U-Net for a moment to tell bone in the scan, and writes its model folder."""
    from segpipe.io.volumes import read_volume
    from segpipe.networks import build_network
    from segpipe.preprocessing.steps import apply_window, plan_preparation, resample_to_recipe

    recipe = Recipe("benchmark", tuple(spacing_mm), (-1000.0, 400.0), tuple(patch))  # type: ignore[arg-type]
    unet = {"name": "unet", "channels": list(channels), "strides": [2] * (len(channels) - 1), "num_res_units": 2}
    spec = {**unet, "norm": "instance", "act": "leakyrelu", "dropout": 0.0}
    volume = read_volume(scan)
    hu = resample_to_recipe(volume.array, plan_preparation(volume.grid, recipe))
    torch.manual_seed(0)
    network = build_network(spec)
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    for image, label in _bone_patches(hu, recipe):
        loss = nn.functional.cross_entropy(network(image), label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    write_model_folder(
        folder,
        network=network.eval(),
        spec=spec,
        recipe=recipe,
        operating_point={"threshold": 0.5, "min_volume_mm3": 0.0, "min_probability": 0.0, "flips": []},
        facts={"data": "one scan, for a benchmark"},
        example_bcxyz=apply_window(hu, recipe)[None, None, 64:160, 64:160, 32:80],
    )


def _bone_patches(hu: torch.Tensor, recipe: Recipe) -> Any:
    from segpipe.preprocessing.steps import apply_window

    bone = torch.nonzero(hu > BONE_HU)
    generator = torch.Generator().manual_seed(0)
    side = 32
    for _ in range(FIT_STEPS):
        corner = bone[int(torch.randint(len(bone), (1,), generator=generator))] - side // 2
        starts = [int(min(max(c, 0), n - side)) for c, n in zip(corner.tolist(), hu.shape, strict=True)]
        x, y, z = (slice(start, start + side) for start in starts)
        yield apply_window(hu[x, y, z], recipe)[None, None], (hu[x, y, z] > BONE_HU).long()[None]


if __name__ == "__main__":
    which, model_folder, scan_file, output_folder = sys.argv[1:]
    run = {"monai": run_monai, "nnunetv2": run_nnunet}[which]
    run(read_model_folder(Path(model_folder)), Path(scan_file), Path(output_folder))
