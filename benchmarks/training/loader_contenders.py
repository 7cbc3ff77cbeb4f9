"""The loaders that `loader.py` compares: each yields patches of the same cases under the same kinds of augmentation.

The augmentation is nnU-Net's default one: rotation and scaling 0.2 each, noise 0.1, blur 0.1, brightness 0.15, contrast
0.15, low resolution 0.125, gamma 0.4, mirroring of each axis 0.5. Patches lie on a lesion with probability 2/3.
segpipe's presets, one of them wholly of MONAI's transforms, are measured as shipped: `--only augmentation=light …`.
"""

import contextlib
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch

from segpipe.datasets.manifest import Entry
from segpipe.preprocessing.cache.cached_case import CachedCase
from segpipe.preprocessing.recipe import Recipe

Patches = Generator[torch.Tensor, None, None]
BATCH = 4
ROTATE_DEGREES = 30.0


@dataclass(frozen=True)
class RunData:
    """What every contender gets.

    Args:
        entries: The scans as files, for loaders that prepare them on their own.
        cases: The prepared cases.
        recipe: Grid, window and patch.
        folder: Where a contender may keep its own format.
        workers: Processes that load.
    """

    entries: Sequence[Entry]
    cases: Sequence[CachedCase]
    recipe: Recipe
    folder: Path
    workers: int


_OWN = "segpipe.preprocessing.augmentation"
_COMPARED: dict[str, dict[str, Any]] = {
    "spatial": {
        "_target_": f"{_OWN}.RandSpatiald",
        "flip_prob": 0.5,
        "rotate_prob": 0.2,
        "rotate_degrees": ROTATE_DEGREES,
        "tilt_degrees": ROTATE_DEGREES,
        "scale_prob": 0.2,
        "scale_range": (0.7, 1.4),
    },
    "noise": {"_target_": f"{_OWN}.RandNoised", "prob": 0.1, "std_range": (0.0, 0.1)},
    "brightness": {"_target_": f"{_OWN}.RandBrightnessd", "prob": 0.15, "offset_range": (-0.1, 0.1)},
    "contrast": {"_target_": f"{_OWN}.RandContrastd", "prob": 0.15, "factor_range": (0.75, 1.25)},
    "clip": {"_target_": f"{_OWN}.ClipIntensityd"},
    "blur": {"_target_": f"{_OWN}.RandBlurd", "prob": 0.1, "sigma_range": (0.5, 1.0)},
    "low_resolution": {"_target_": f"{_OWN}.RandLowResolutiond", "prob": 0.125, "zoom_range": (0.5, 1.0)},
    "gamma": {"_target_": f"{_OWN}.RandGammad", "prob": 0.4, "gamma_range": (0.7, 1.5)},
}


def segpipe_loader(run_data: RunData) -> Patches:
    """The product's own, with the augmentation that all loaders share."""
    return _own_loader(run_data, _COMPARED)


def preset_loader(name: str, run_data: RunData) -> Patches:
    """The product's own with `augmentation=NAME`."""
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from segpipe.config.folder import conf_folder

    with initialize_config_dir(str(conf_folder() / "augmentation"), version_base="1.3"):
        spec: Any = OmegaConf.to_container(compose(name))
    return _own_loader(run_data, spec)


def _own_loader(run_data: RunData, spec: Mapping[str, Any]) -> Patches:
    from segpipe.preprocessing.augmentation import build_augmentation
    from segpipe.preprocessing.sampling import Sampling
    from segpipe.training.data.patches import PatchDataset, build_train_loader

    sampling = Sampling(lesion_fraction=2 / 3, shift=0.0)
    augmentation = build_augmentation(spec)
    dataset = PatchDataset(run_data.cases, run_data.recipe, sampling=sampling, augmentation=augmentation, seed=0)
    loader = build_train_loader(
        dataset, batch=BATCH, steps=10**6, start_step=0, workers=run_data.workers, rank=0, world=1
    )
    return (batch["image"] for batch in loader)


def monai_cache(run_data: RunData) -> Patches:
    """CacheDataset: all prepared scans in memory."""
    from monai.data import CacheDataset

    dataset = CacheDataset(_monai_items(run_data), _monai_transforms(run_data.recipe), num_workers=1, progress=False)
    return _monai_batches(dataset, run_data.workers)


def monai_persistent(run_data: RunData) -> Patches:
    """PersistentDataset: each prepared scan as a file, read whole."""
    return _monai_batches(_persistent(run_data), run_data.workers)


def nnunet(run_data: RunData) -> Patches:
    """nnU-Net v2: blosc2 files of float32, batchgeneratorsv2."""
    from batchgenerators.dataloading.nondet_multi_threaded_augmenter import NonDetMultiThreadedAugmenter
    from batchgenerators.dataloading.single_threaded_augmenter import SingleThreadedAugmenter
    from nnunetv2.training.data_augmentation.compute_initial_patch_size import get_patch_size
    from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
    from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2
    from nnunetv2.utilities.label_handling.label_handling import LabelManager

    patch, angle = run_data.recipe.patch, np.deg2rad(ROTATE_DEGREES)
    dataset = nnUNetDatasetBlosc2(str(_nnunet_folder(run_data)))
    loader = nnUNetDataLoader(
        dataset,
        BATCH,
        get_patch_size(patch, *[(-angle, angle)] * 3, (0.85, 1.25)),
        patch,
        LabelManager({"background": 0, "nodule": 1}, None),
        oversample_foreground_percent=2 / 3,
        probabilistic_oversampling=True,
        transforms=_nnunet_transforms(patch, angle),
    )
    if run_data.workers == 0:
        batches: Any = SingleThreadedAugmenter(loader, None)
    else:
        batches = NonDetMultiThreadedAugmenter(loader, None, run_data.workers, num_cached=max(6, run_data.workers // 2))
    try:
        yield from (batch["data"] for batch in batches)
    finally:
        if run_data.workers:
            batches._finish()


OTHERS: dict[str, Callable[[RunData], Patches]] = {
    "MONAI CacheDataset": monai_cache,
    "MONAI PersistentDataset": monai_persistent,
    "nnU-Net v2": nnunet,
}
CONTENDERS: dict[str, Callable[[RunData], Patches]] = {
    "segpipe": segpipe_loader,
    **OTHERS,
    **{f"augmentation={name}": partial(preset_loader, name) for name in ("light", "none", "strong", "monai")},
}


def fill_formats(run_data: RunData) -> None:
    """Writes what PersistentDataset and nnU-Net keep on disk, so that nobody's preparation is measured."""
    dataset = _persistent(run_data)
    for number in {entry.image: number for number, entry in enumerate(run_data.entries)}.values():
        dataset[number]
    with contextlib.suppress(ImportError):
        _nnunet_folder(run_data)


def _persistent(run_data: RunData) -> Any:
    from monai.data import PersistentDataset

    folder = run_data.folder / "monai_persistent"
    return PersistentDataset(_monai_items(run_data), _monai_transforms(run_data.recipe), cache_dir=folder)


def _monai_items(run_data: RunData) -> list[dict[str, str]]:
    return [{"image": str(entry.image), "label": str(entry.mask)} for entry in run_data.entries]


def _monai_transforms(recipe: Recipe) -> Any:
    """Four patches of a scan at a time, so that reading it is shared; the labels' voxels are found once."""
    from monai import transforms as mt

    keys, (low, high), angle = ["image", "label"], recipe.window_hu, np.deg2rad(ROTATE_DEGREES)
    grow = (1 / 1.4 - 1, 1 / 0.7 - 1)
    return mt.Compose(
        [
            mt.LoadImaged(keys, ensure_channel_first=True),
            mt.Orientationd(keys, axcodes=recipe.orientation, labels=(("L", "R"), ("P", "A"), ("I", "S"))),
            mt.Spacingd(keys, pixdim=recipe.spacing_mm, mode=("bilinear", "nearest"), padding_mode="border"),
            mt.ScaleIntensityRanged("image", a_min=low, a_max=high, b_min=0.0, b_max=1.0, clip=True),
            mt.EnsureTyped("label", dtype=torch.uint8),
            mt.RandCropByPosNegLabeld(
                keys, "label", recipe.patch, pos=2, neg=1, num_samples=BATCH, image_key="image", image_threshold=0.3
            ),
            mt.RandAffined(
                keys,
                prob=0.36,
                rotate_range=[(-angle, angle)] * 3,
                scale_range=[grow] * 3,
                mode=("bilinear", "nearest"),
                padding_mode="border",
            ),
            *[mt.RandFlipd(keys, prob=0.5, spatial_axis=axis) for axis in range(3)],
            mt.RandGaussianNoised("image", prob=0.1, std=0.1),
            mt.RandGaussianSmoothd("image", prob=0.1, sigma_x=(0.5, 1), sigma_y=(0.5, 1), sigma_z=(0.5, 1)),
            mt.RandShiftIntensityd("image", prob=0.15, offsets=(-0.1, 0.1)),
            mt.RandScaleIntensityFixedMeand("image", prob=0.15, factors=0.25, preserve_range=True),
            mt.RandSimulateLowResolutiond("image", prob=0.125, zoom_range=(0.5, 1.0)),
            mt.RandAdjustContrastd("image", prob=0.4, gamma=(0.7, 1.5)),
        ]
    )


def _monai_batches(dataset: Any, workers: int) -> Patches:
    from monai.data import DataLoader

    loader = DataLoader(dataset, batch_size=1, shuffle=True, num_workers=workers, persistent_workers=workers > 0)
    for _ in count():
        for batch in loader:
            yield batch["image"]


def _nnunet_transforms(patch: tuple[int, int, int], angle: float) -> Any:
    """As `nnUNetTrainer.get_training_transforms` composes them, without deep supervision."""
    from batchgeneratorsv2.transforms.intensity.brightness import MultiplicativeBrightnessTransform
    from batchgeneratorsv2.transforms.intensity.contrast import BGContrast, ContrastTransform
    from batchgeneratorsv2.transforms.intensity.gamma import GammaTransform
    from batchgeneratorsv2.transforms.intensity.gaussian_noise import GaussianNoiseTransform
    from batchgeneratorsv2.transforms.noise.gaussian_blur import GaussianBlurTransform
    from batchgeneratorsv2.transforms.spatial.low_resolution import SimulateLowResolutionTransform
    from batchgeneratorsv2.transforms.spatial.mirroring import MirrorTransform
    from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
    from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
    from batchgeneratorsv2.transforms.utils.random import RandomTransform
    from batchgeneratorsv2.transforms.utils.remove_label import RemoveLabelTansform

    each: dict[str, Any] = {"synchronize_channels": False, "p_per_channel": 1}
    half = {**each, "p_per_channel": 0.5}
    gamma, factor = BGContrast((0.7, 1.5)), BGContrast((0.75, 1.25))
    scales = {"p_scaling": 0.2, "scaling": (0.7, 1.4), "p_synchronize_scaling_across_axes": 1}
    spatial = SpatialTransform(
        patch,
        0,
        False,
        p_rotation=0.2,
        rotation=(-angle, angle),
        border_mode_seg="constant",
        padding_value_seg=-1,
        **scales,
    )
    blur = GaussianBlurTransform(blur_sigma=(0.5, 1.0), synchronize_axes=False, benchmark=True, **half)
    coarse = SimulateLowResolutionTransform(
        scale=(0.5, 1), synchronize_axes=True, ignore_axes=None, allowed_channels=None, **half
    )
    return ComposeTransforms(
        [
            spatial,
            RandomTransform(GaussianNoiseTransform((0, 0.1), p_per_channel=1, synchronize_channels=True), 0.1),
            RandomTransform(blur, 0.2),
            RandomTransform(MultiplicativeBrightnessTransform(factor, **each), 0.15),
            RandomTransform(ContrastTransform(factor, preserve_range=True, **each), 0.15),
            RandomTransform(coarse, 0.25),
            RandomTransform(GammaTransform(gamma, p_invert_image=1, p_retain_stats=1, **each), 0.1),
            RandomTransform(GammaTransform(gamma, p_invert_image=0, p_retain_stats=1, **each), 0.3),
            MirrorTransform((0, 1, 2)),
            RemoveLabelTansform(-1, 0),
        ]
    )


def _nnunet_folder(run_data: RunData) -> Path:
    """The prepared cases in nnU-Net's own files, normalised, as its preprocessing leaves them."""
    from nnunetv2.training.dataloading.nnunet_dataset import comp_blosc2_params, nnUNetDatasetBlosc2

    folder = run_data.folder / "nnunet"
    folder.mkdir(parents=True, exist_ok=True)
    first: dict[Path, str] = {}
    for case in run_data.cases:
        if (folder / f"{case.id}.pkl").is_file():
            continue
        if case.folder in first:
            for ending in (".b2nd", "_seg.b2nd", ".pkl"):
                (folder / (case.id + ending)).hardlink_to(folder / (first[case.folder] + ending))
            continue
        first[case.folder] = case.id
        image, mask = case.read((0, 0, 0), case.grid.shape)
        data = image.astype(np.float32)[None]
        data = (data - data.mean()) / data.std()
        properties = {"class_locations": {1: np.argwhere(mask[None])[:10_000]}}
        blocks, chunks = comp_blosc2_params(data.shape, run_data.recipe.patch, data.itemsize)
        shapes = {"chunks": chunks, "blocks": blocks, "chunks_seg": chunks, "blocks_seg": blocks}
        nnUNetDatasetBlosc2.save_case(data, mask.astype(np.int8)[None], properties, str(folder / case.id), **shapes)
    return folder
