"""`metadata.json`: what a bundle says of itself, by MONAI's schema."""

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from segpipe import __version__
from segpipe.export.bundle_decision import cleaning_rules
from segpipe.export.export_spec import Release

SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
INTENDED_USE = "Research and development; not a medical device, not for diagnosis or treatment of patients."

_NUMBERS = {2: "two", 3: "three", 4: "four"}


def bundle_metadata(release: Release) -> dict[str, Any]:
    """The content of `configs/metadata.json`; passes `python -m monai.bundle verify_metadata`."""
    label = release.recipe.label
    data = str(release.about.get("data", "unknown"))
    return {
        "schema": SCHEMA,
        "version": __version__,
        "changelog": {__version__: f"exported by segpipe {__version__}, recipe {release.recipe.digest}"},
        "monai_version": version("monai"),
        "pytorch_version": version("torch").split("+")[0],
        "numpy_version": version("numpy"),
        "required_packages_version": {name: version(name) for name in _packages(release)},
        "name": f"{release.recipe.name} {release.network_name}",
        "task": f"Segmentation of a lung {label} in CT",
        "description": _description(release),
        "authors": "whoever trained the model; segpipe names nobody",
        "copyright": "see LICENSE",
        "data_source": f"{data}: generated phantoms, no patients" if release.on_phantom else data,
        "data_type": "nibabel",
        "image_classes": "single channel CT, Hounsfield units, scaled to 0…1",
        "label_classes": f"single channel, {_listed(release.recipe.label_map.class_names)}, 0 is background",
        "pred_classes": _channels_in_words(release),
        "eval_metrics": _figures(release.about),
        "intended_use": INTENDED_USE,
        "references": [],
        "network_data_format": {"inputs": {"image": _image(release)}, "outputs": {"pred": _prediction(release)}},
        "segpipe": {"recipe_digest": release.recipe.digest, "onnx_fixed_shape": release.fixed_shape},
    }


def _packages(release: Release) -> list[str]:
    """What the bundle needs in addition to MONAI's own requirements."""
    cleans = bool(cleaning_rules(release))
    return [
        "nibabel",
        "fire",
        *(["safetensors"] if release.monai else []),
        *(["einops"] if release.monai and release.network_name == "swin_unetr" else []),
        *(["scipy"] if cleans else []),
    ]


def _description(release: Release) -> str:
    recipe = release.recipe
    what = f"the {recipe.label} in the middle of a crop" if recipe.scope == "voi" else f"every {recipe.label} of a scan"
    spacing = "×".join(f"{size:g}" for size in recipe.spacing_mm)
    return f"Segments {what} at {spacing} mm with the network {release.network_name}."


def _figures(facts: Mapping[str, Any]) -> dict[str, float]:
    """Means of the held-out cases; undefined ones are left out."""
    figures = facts.get("figures") or {}
    rows = {f"mean_{name}": row.get("mean") for name, row in (figures.get("metrics") or {}).items()}
    lesions = {f"lesion_{name}": value for name, value in (figures.get("lesions") or {}).items()}
    return {name: value for name, value in {**rows, **lesions}.items() if isinstance(value, int | float)}


def _image(release: Release) -> dict[str, Any]:
    return {
        "type": "image",
        "format": "hounsfield",
        "modality": "CT",
        "num_channels": 1,
        "spatial_shape": _sizes(release),
        "dtype": "float32",
        "value_range": [] if release.recipe.transforms else [0, 1],
        "is_patch_data": True,
        "channel_def": {"0": "image"},
    }


def _channels_in_words(release: Release) -> str:
    names = _channel_names(release)
    kind = "logits" if release.exclusive else "logits, each for a sigmoid of its own"
    return f"{_NUMBERS.get(len(names), str(len(names)))} channels of {kind}: {_listed(names)}"


def _channel_names(release: Release) -> dict[int, str]:
    """What each channel of the network stands for."""
    names = [label.name for label in release.recipe.label_map.classes]
    return dict(enumerate(["background", *names] if release.exclusive else names))


def _listed(names: Mapping[int, str]) -> str:
    return ", ".join(f"{number} is {name}" for number, name in names.items())


def _prediction(release: Release) -> dict[str, Any]:
    return {
        "type": "image",
        "format": "logits",
        "num_channels": release.recipe.label_map.channels,
        "spatial_shape": _sizes(release),
        "dtype": "float32",
        "value_range": [],
        "is_patch_data": True,
        "channel_def": {str(number): name for number, name in _channel_names(release).items()},
    }


def _sizes(release: Release) -> list[str]:
    """All multiples of the divisor but the first, of which too little is left at the bottom of the network."""
    return [f"{step}*(n+1)" for step in release.divisor]
