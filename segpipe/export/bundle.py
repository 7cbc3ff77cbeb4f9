"""`inference.json`: the whole way from a scan to a mask in MONAI's own words, with every number from the recipe.

MONAI evaluates the expressions in it when somebody runs the bundle; segpipe itself never does.
"""

from itertools import combinations
from typing import Any

from segpipe.export.bundle_decision import cleaning_rules, to_mask, to_probabilities
from segpipe.export.export_spec import INDEX, PROGRAM, TORCHSCRIPT, WEIGHTS, Release, plain
from segpipe.preprocessing.voxel_transforms import for_bundle

BATCH = 4
# Wherever the command is started, the folder above `configs` is on the path when a bundle runs.
_ROOT = f"$next((folder for folder in sys.path[1:] if Path(folder, '{INDEX}').is_file()), '.')"
_PREDICT = (
    "$torch.no_grad()(lambda image: monai.data.MetaTensor(sum("
    "@inferer(image.as_tensor()[None].to(@device).flip(axes), @network){activation}.flip(axes)[0, {channels}].cpu()"
    " for axes in @views) / len(@views)))"
)


def inference_config(release: Release) -> dict[str, Any]:
    """The content of `configs/inference.json`; `python -m monai.bundle run` needs no segpipe for it."""
    return {
        "imports": [
            "$import sys",
            "$from pathlib import Path",
            *(["$from scipy import ndimage"] if cleaning_rules(release) else []),
            *([] if release.shipped else ["$import torch.export.passes"]),
            *(["$from safetensors.torch import load_model"] if release.monai else []),
        ],
        "bundle_root": _ROOT,
        "dataset_dir": "$str(Path.cwd())",
        "output_dir": "$str(Path.cwd() / 'masks')",
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "scans": "$sorted(str(file) for file in Path(@dataset_dir).glob('*.nii*'))",
        **_network(release),
        "preprocessing": {"_target_": "Compose", "transforms": [*_preparation(release), *_padding(release)]},
        "dataset": {
            "_target_": "Dataset",
            "data": "$[{'image': scan} for scan in @scans]",
            "transform": "@preprocessing",
        },
        "inferer": _inferer(release),
        "views": _views(release),
        "predict": _predict(release),
        "postprocessing": {"_target_": "Compose", "transforms": [*_way_back(release), _saving()]},
        "segment": "$lambda item: @postprocessing({'image': item['image'], 'pred': @predict(item['image'])})",
        "run": ["$[@segment(item) for item in @dataset] and None"],
    }


def _network(release: Release) -> dict[str, Any]:
    if not release.shipped:
        load = f"torch.export.load(@bundle_root + '/{PROGRAM}')"
        program = f"$torch.export.passes.move_to_device_pass({load}, @device)"
        return {"network_def": program, "network": "$@network_def.module()"}
    if release.monai is None:
        return {
            "network_def": f"$torch.jit.load(@bundle_root + '/{TORCHSCRIPT}', map_location=@device)",
            "network": "$@network_def.eval()",
        }
    load = f"load_model(@network_def, @bundle_root + '/{WEIGHTS}')"
    return {"network_def": plain(release.monai), "network": f"$({load}, @network_def.to(@device).eval())[1]"}


def _preparation(release: Release) -> list[dict[str, Any]]:
    recipe = release.recipe
    low, high = recipe.window_hu
    return [
        {"_target_": "LoadImaged", "keys": "image"},
        {"_target_": "EnsureChannelFirstd", "keys": "image"},
        {
            "_target_": "Orientationd",
            "keys": "image",
            "axcodes": recipe.orientation,
            "labels": [["L", "R"], ["P", "A"], ["I", "S"]],
        },
        {
            "_target_": "Spacingd",
            "keys": "image",
            "pixdim": list(recipe.spacing_mm),
            "mode": "bilinear",
            "padding_mode": "border",
        },
        {
            "_target_": "ScaleIntensityRanged",
            "keys": "image",
            "a_min": low,
            "a_max": high,
            "b_min": 0.0,
            "b_max": 1.0,
            "clip": True,
        },
        *for_bundle(recipe.transforms or ()),
    ]


def _padding(release: Release) -> list[dict[str, Any]]:
    """Fills a scan that is smaller than the window; a VOI is one forward pass, so all of it must fit the network.

    Of an odd number of voxels MONAI puts the larger half behind the scan, segpipe in front: hence the two flips.
    """
    flip = {"_target_": "Flipd", "keys": "image", "spatial_axis": [0, 1, 2]}
    fill = {"_target_": "SpatialPadd", "keys": "image", "spatial_size": list(release.window), "mode": "edge"}
    fit = {"_target_": "DivisiblePadd", "keys": "image", "k": list(release.divisor), "mode": "edge"}
    return [flip, fill, fit, flip] if release.one_pass else [flip, fill, flip]


def _inferer(release: Release) -> dict[str, Any]:
    if release.one_pass:
        return {"_target_": "SimpleInferer"}
    return {
        "_target_": "SlidingWindowInferer",
        "roi_size": list(release.window),
        "sw_batch_size": BATCH,
        "overlap": release.overlap,
        "mode": "gaussian",
    }


def _views(release: Release) -> list[list[int]]:
    """Axes (of B, C, x, y, z) that each test-time view flips; the first view flips none."""
    flips = [axis + 2 for axis in release.flips]
    return [list(axes) for count in range(len(flips) + 1) for axes in combinations(flips, count)]


def _predict(release: Release) -> str:
    if release.exclusive:
        last = len(release.recipe.label_map.classes) + 1
        return _PREDICT.format(activation=".softmax(1)", channels=f"1:{last}")
    return _PREDICT.format(activation=".sigmoid()", channels=":")


def _way_back(release: Release) -> list[dict[str, Any]]:
    return [
        to_probabilities(release),
        {
            "_target_": "Invertd",
            "keys": "pred",
            "transform": "@preprocessing",
            "orig_keys": "image",
            "nearest_interp": False,
            "to_tensor": True,
        },
        *to_mask(release),
    ]


def _saving() -> dict[str, Any]:
    return {
        "_target_": "SaveImaged",
        "keys": "pred",
        "output_dir": "@output_dir",
        "output_postfix": "mask",
        "output_dtype": "$np.uint8",
        "resample": False,
        "separate_folder": False,
    }
