# ruff: noqa: E402 (MONAI is imported before any file here does it)
"""What training patches go through: MONAI's transforms, segpipe's own, and how they are strung together."""

from segpipe.system.light_imports import import_monai

import_monai()

from segpipe.preprocessing.augmentation.composing import build_augmentation, check_augmentation
from segpipe.preprocessing.augmentation.intensity_transforms import (
    ClipIntensityd,
    RandBlurd,
    RandBrightnessd,
    RandContrastd,
    RandGammad,
    RandLowResolutiond,
    RandNoised,
)
from segpipe.preprocessing.augmentation.pipeline import Augmentation
from segpipe.preprocessing.augmentation.spatial_transform import RandSpatiald

__all__ = [
    "Augmentation",
    "ClipIntensityd",
    "RandBlurd",
    "RandBrightnessd",
    "RandContrastd",
    "RandGammad",
    "RandLowResolutiond",
    "RandNoised",
    "RandSpatiald",
    "build_augmentation",
    "check_augmentation",
]
