import json

import pytest
from jsonschema import validate

from segpipe.export.export_spec import Release, plain
from segpipe.export.metadata import bundle_metadata
from tests.samples.small_models import FACTS, RESNET, SCAN, UNET, VOI, network_of
from tests.support.processes import run_module

# What MONAI's bundle specification demands, written down from its text.
TENSOR = {
    "type": "object",
    "required": ["type", "format", "num_channels", "spatial_shape", "dtype", "value_range"],
    "properties": {
        "num_channels": {"type": "integer"},
        "spatial_shape": {"type": "array", "items": {"type": ["integer", "string"]}},
        "value_range": {"type": "array", "items": {"type": "number"}},
        "is_patch_data": {"type": "boolean"},
        "channel_def": {"type": "object"},
    },
}
SIDE = {"type": "object", "minProperties": 1, "additionalProperties": TENSOR}
TEXTS = ("schema", "version", "monai_version", "pytorch_version", "numpy_version", "task", "description", "authors")
SPECIFICATION = {
    "type": "object",
    "required": [*TEXTS, "copyright", "changelog", "required_packages_version", "network_data_format"],
    "properties": {
        **{name: {"type": "string", "minLength": 1} for name in (*TEXTS, "copyright", "intended_use")},
        "changelog": {"type": "object", "minProperties": 1},
        "required_packages_version": {"type": "object", "additionalProperties": {"type": "string"}},
        "eval_metrics": {"type": "object", "additionalProperties": {"type": "number"}},
        "network_data_format": {
            "type": "object",
            "required": ["inputs", "outputs"],
            "properties": {"inputs": SIDE, "outputs": SIDE},
        },
    },
}


def metadata(spec=UNET, *, recipe=SCAN, point=None) -> dict[str, object]:
    content = plain(bundle_metadata(Release(network_of(spec), spec, recipe, point or {}, FACTS)))
    validate(content, SPECIFICATION)
    return content


def test_it_holds_what_the_specification_demands() -> None:
    found = metadata()
    (image,) = found["network_data_format"]["inputs"].values()
    (logits,) = found["network_data_format"]["outputs"].values()
    assert image["value_range"] == [0, 1]
    assert image["num_channels"] == 1
    assert image["spatial_shape"] == logits["spatial_shape"] == ["2*(n+1)"] * 3
    assert logits["channel_def"] == {"0": "background", "1": "nodule"}
    assert "not a medical device" in found["intended_use"]


def test_figures_that_are_defined_are_reported() -> None:
    figures = metadata()["eval_metrics"]
    assert figures["mean_dice"] == 0.8125
    assert figures["lesion_f1"] == 0.857
    assert "mean_f1" not in figures


def test_phantoms_are_called_that() -> None:
    assert metadata()["data_source"] == "phantom: generated phantoms, no patients"


def test_packages_are_those_that_the_bundle_imports() -> None:
    assert set(metadata()["required_packages_version"]) == {"nibabel", "fire", "safetensors"}
    assert set(metadata(RESNET, recipe=VOI)["required_packages_version"]) == {"nibabel", "fire", "scipy"}
    found = metadata(point={"min_probability": 0.3})["required_packages_version"]
    assert set(found) == {"nibabel", "fire", "safetensors", "scipy"}


@pytest.mark.slow
def test_monai_verifies_it(untrained_model, tmp_path) -> None:
    (tmp_path / "schema.json").write_text(json.dumps(SPECIFICATION))
    words = ["--meta_file", str(untrained_model / "configs/metadata.json"), "--filepath", str(tmp_path / "schema.json")]
    reported = run_module("monai.bundle", "verify_metadata", *words, cwd=tmp_path)
    assert "metadata is verified with no error" in reported


@pytest.mark.slow
def test_monai_verifies_the_networks_input_and_output(untrained_model, tmp_path) -> None:
    configs = untrained_model / "configs"
    words = ["--meta_file", str(configs / "metadata.json"), "--config_file", str(configs / "inference.json")]
    reported = run_module("monai.bundle", "verify_net_in_out", "network_def", *words, "--device", "cpu", cwd=tmp_path)
    assert "data shape of network is verified with no error" in reported
