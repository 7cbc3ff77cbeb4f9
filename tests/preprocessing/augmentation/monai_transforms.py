"""MONAI's random transforms on dictionaries: how each is used on a 3-D patch, and why some are not."""

from typing import Any

BOTH = ["image", "label"]
FIELD = {"spatial_size": [16, 16, 8], "rand_size": [4, 4, 4]}

PATCH_TRANSFORMS: dict[str, dict[str, Any]] = {
    "Rand3DElasticd": {
        "keys": BOTH,
        "sigma_range": [1, 2],
        "magnitude_range": [10, 20],
        "mode": ["bilinear", "nearest"],
    },
    "RandAdjustContrastd": {"keys": "image"},
    "RandAffined": {"keys": BOTH, "rotate_range": [0.5, 0.5, 0.5], "mode": ["bilinear", "nearest"]},
    "RandAxisFlipd": {"keys": BOTH},
    "RandBiasFieldd": {"keys": "image"},
    "RandCoarseDropoutd": {"keys": "image", "holes": 2, "spatial_size": 4, "max_spatial_size": 6},
    "RandCoarseShuffled": {"keys": "image", "holes": 2, "spatial_size": 4},
    "RandFlipd": {"keys": BOTH},
    "RandGaussianNoised": {"keys": "image"},
    "RandGaussianSharpend": {"keys": "image"},
    "RandGaussianSmoothd": {"keys": "image"},
    "RandGibbsNoised": {"keys": "image", "alpha": [0.3, 0.9]},
    "RandGridDistortiond": {"keys": BOTH, "distort_limit": 0.2, "mode": ["bilinear", "nearest"]},
    "RandHistogramShiftd": {"keys": "image"},
    "RandImageFilterd": {"keys": "image", "kernel": "mean", "kernel_size": 3},
    "RandKSpaceSpikeNoised": {"keys": "image", "intensity_range": [9, 11]},
    "RandRicianNoised": {"keys": "image", "std": 0.1},
    "RandRotate90d": {"keys": BOTH},
    "RandRotated": {"keys": BOTH, "range_z": 0.5, "mode": ["bilinear", "nearest"]},
    "RandScaleIntensityFixedMeand": {"keys": "image", "factors": 0.5},
    "RandScaleIntensityd": {"keys": "image", "factors": 0.5},
    "RandShiftIntensityd": {"keys": "image", "offsets": 0.2},
    "RandSimulateLowResolutiond": {"keys": "image"},
    "RandSmoothDeformd": {"keys": BOTH, **FIELD, "def_range": 0.2},
    "RandSmoothFieldAdjustContrastd": {"keys": "image", **FIELD},
    "RandSmoothFieldAdjustIntensityd": {"keys": "image", **FIELD},
    "RandStdShiftIntensityd": {"keys": "image", "factors": 0.5},
    "RandZoomd": {"keys": BOTH, "min_zoom": 0.7, "max_zoom": 1.4, "mode": ["area", "nearest"]},
}

COMPOSED: dict[str, dict[str, Any]] = {
    name: {
        "transforms": [
            {"_target_": "monai.transforms.RandGaussianNoised", "keys": "image", "prob": 0.5},
            {"_target_": "monai.transforms.RandFlipd", "keys": BOTH, "prob": 0.5, "spatial_axis": 0},
        ]
    }
    for name in ("Compose", "OneOf", "SomeOf", "RandomOrder")
}

_SIZE = "changes the patch's size: segpipe places patches while it reads them"
_BATCH = "works on a batch"
_LIBRARY = "wraps another library, which is named directly by its own `_target_`"
LEFT_OUT = {
    "AddExtremePointsChanneld": "adds a channel",
    "CutMixd": _BATCH,
    "CutOutd": _BATCH,
    "MixUpd": _BATCH,
    "Rand2DElasticd": "is for images of two axes",
    "RandCropByLabelClassesd": _SIZE,
    "RandCropByPosNegLabeld": _SIZE,
    "RandCropd": _SIZE,
    "RandCuCIMd": _LIBRARY,
    "RandGridPatchd": _SIZE,
    "RandLambdad": "takes a function; a function of one's own is a transform already",
    "RandScaleCropd": _SIZE,
    "RandSpatialCropSamplesd": _SIZE,
    "RandSpatialCropd": _SIZE,
    "RandTorchIOd": _LIBRARY,
    "RandTorchVisiond": _LIBRARY,
    "RandWeightedCropd": _SIZE,
}
