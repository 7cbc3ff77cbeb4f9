import json
from pathlib import Path

import monai
import onnx
import pytest
import torch
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument
from torch import nn

from segpipe.errors import ModelError
from segpipe.export.onnx import OPSET, export_onnx, open_onnx, traced_size
from segpipe.export.parity import check_parity, parity_patches
from segpipe.networks import NETWORKS, build_network, has_fixed_size, network_divisor
from tests.samples.small_models import UNET, example, network_of

SMALL = {
    "unet": UNET,
    "dynunet": {
        "channels": [4, 8, 8], "strides": [1, 2, [2, 2, 1]], "deep_supervision": 1, "residual": True,
        "norm": "instance", "act": "leakyrelu", "dropout": 0.1,
    },
    "segresnet": {
        "width": 8, "blocks_down": [1, 1], "blocks_up": [1], "norm": "instance", "act": "relu", "dropout": 0.1,
    },
    "attention_unet": {"channels": [4, 8], "strides": [2], "norm": "instance", "dropout": 0.1},
    "resnet_unet": {"depth": 10, "width": 8, "strides": [1, 1, [2, 2, 1], 2, 1], "norm": "instance", "dropout": 0.1},
    "swin_unetr": {
        "width": 12, "depths": [1, 1, 1, 1], "heads": [1, 2, 2, 4], "window": [4, 4, 4], "dropout": 0.0,
        "attention_dropout": 0.0,
    },
}  # fmt: skip


def test_the_traced_size_leaves_more_than_one_voxel_at_the_bottom() -> None:
    assert traced_size((64, 64, 16), (8, 8, 16)) == (16, 24, 32)
    assert traced_size((64, 64, 32), None) == (64, 64, 32)


@pytest.mark.slow
def test_axes_are_dynamic_and_no_path_of_the_machine_is_in_the_file(untrained_model) -> None:
    file = untrained_model / "models" / "model.onnx"
    model = onnx.load(file)
    onnx.checker.check_model(model, full_check=True)
    (image,), (logits,) = model.graph.input, model.graph.output
    axes = [axis.dim_param or axis.dim_value for axis in image.type.tensor_type.shape.dim]
    assert (image.name, axes) == ("image", ["batch", 1, "2*x", "2*y", "2*z"])
    axes = [axis.dim_param or axis.dim_value for axis in logits.type.tensor_type.shape.dim]
    assert (logits.name, axes) == ("logits", ["batch", 2, "2*x", "2*y", "2*z"])
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", OPSET)]
    for library in (torch, monai):
        assert str(Path(library.__file__).parent).encode() not in file.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_computes_the_same_in_onnx_runtime(name, tmp_path) -> None:
    spec = {"name": name, **SMALL[name]}
    network, divisor = network_of(spec), network_divisor(spec)
    free = None if has_fixed_size(spec) else divisor
    window = (*divisor[:2], 2 * divisor[2])  # the smallest: one voxel at the bottom cannot be normalised
    export_onnx(network, tmp_path / "model.onnx", window=window, divisor=free, properties={})
    run = open_onnx(tmp_path / "model.onnx")
    patches = parity_patches(example(), window=window, divisor=free)
    assert check_parity(network, run, patches, name="ONNX Runtime").largest < 1e-3
    longer = torch.rand(1, 1, 2 * window[0], window[1], window[2])
    if free is None:
        with pytest.raises(InvalidArgument, match="invalid dimensions"):
            run(longer)
    else:
        assert run(longer).shape[2:] == longer.shape[2:]


@pytest.mark.slow
def test_an_ensemble_computes_the_same_in_onnx_runtime(tmp_path) -> None:
    network = build_network({"name": "ensemble", "members": 2, "member": UNET}).eval()
    export_onnx(network, tmp_path / "model.onnx", window=(16, 16, 8), divisor=(2, 2, 2), properties={})
    patches = parity_patches(example(), window=(16, 16, 8), divisor=(2, 2, 2))
    assert check_parity(network, open_onnx(tmp_path / "model.onnx"), patches, name="ONNX Runtime").largest < 1e-3


@pytest.mark.slow
def test_a_network_that_onnx_cannot_express_is_refused(tmp_path) -> None:
    class Undecided(nn.Module):
        def forward(self, image):
            return image if image.sum() > 0 else -image

    with pytest.raises(ModelError, match="cannot be written as ONNX"):
        export_onnx(Undecided(), tmp_path / "model.onnx", window=(4, 4, 4), divisor=(1, 1, 1), properties={})
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_onnx_speaks_of_the_recipe(untrained_model) -> None:
    reported = {row.key: row.value for row in onnx.load(untrained_model / "models/model.onnx").metadata_props}
    index = json.loads((untrained_model / "segpipe.json").read_text())
    operating_point = {"threshold", "min_volume_mm3", "min_probability"}
    assert reported.keys() == {
        "segpipe_version", "recipe_digest", "recipe", "labels", "divisor", "fixed_shape", *operating_point,
    }  # fmt: skip
    assert reported["recipe_digest"] == index["recipe_digest"]
    assert json.loads(reported["recipe"]) == index["recipe"]
    assert json.loads(reported["labels"]) == {"1": "nodule"}
    assert json.loads(reported["divisor"]) == [2, 2, 2]
    assert json.loads(reported["threshold"]) == 0.5
    assert reported["segpipe_version"] == index["segpipe_version"]


@pytest.mark.slow
def test_onnx_says_nothing_of_the_machine_that_wrote_it(untrained_model) -> None:
    assert b".py" not in (untrained_model / "models/model.onnx").read_bytes()
