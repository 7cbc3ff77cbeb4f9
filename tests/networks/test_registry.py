from itertools import product
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

from segpipe.errors import ConfigError, ModelError
from segpipe.networks import NETWORKS, build_network, network_divisor

CONF = Path(__file__).parents[2] / "conf" / "network"
SMALL = {
    "unet": {
        "channels": [4, 8, 16], "strides": [2, [2, 2, 1]], "num_res_units": 1, "norm": "instance",
        "act": "leakyrelu", "dropout": 0.0,
    },
    "dynunet": {
        "channels": [4, 8, 16, 16], "strides": [1, [2, 2, 1], 2, 2], "deep_supervision": 2, "residual": False,
        "norm": "instance", "act": "leakyrelu", "dropout": 0.0,
    },
    "segresnet": {
        "width": 8, "blocks_down": [1, 1, 1], "blocks_up": [1, 1], "norm": "instance", "act": "relu", "dropout": 0.0,
    },
    "attention_unet": {"channels": [4, 8, 16], "strides": [2, [2, 2, 1]], "norm": "instance", "dropout": 0.0},
    "resnet_unet": {"depth": 10, "width": 8, "strides": [2, 1, [2, 2, 1], 2, 1], "norm": "instance", "dropout": 0.0},
    "swin_unetr": {
        "width": 12, "depths": [1, 1, 1, 1], "heads": [1, 2, 2, 4], "window": [4, 4, 4], "dropout": 0.0,
        "attention_dropout": 0.0,
    },
}  # fmt: skip
DIVISORS = {
    "unet": (4, 4, 2),
    "dynunet": (8, 8, 4),
    "segresnet": (4, 4, 4),
    "attention_unet": (4, 4, 2),
    "resnet_unet": (8, 8, 4),
    "swin_unetr": (32, 32, 32),
}


def small(name: str, **changes: object) -> dict[str, object]:
    return {"name": name, **SMALL[name], **changes}


def shipped(name: str) -> dict[str, object]:
    content: dict[str, object] = yaml.safe_load((CONF / f"{name}.yaml").read_text())
    bases: list[str] = content.pop("defaults", [])  # type: ignore[assignment]
    for base in bases:
        content = content if base == "_self_" else {**shipped(base), **content}
    return content


def test_every_network_has_a_configuration_and_every_configuration_a_network() -> None:
    options = [shipped(file.stem) for file in CONF.glob("*.yaml")]
    assert {option["name"] for option in options if "name" in option} == set(NETWORKS) == set(SMALL)


@pytest.mark.parametrize("name", sorted(file.stem for file in CONF.glob("*.yaml")))
def test_shipped_configuration_builds(name: str) -> None:
    spec = shipped(name)
    network = build_network(spec).eval()
    x, y, z = network_divisor(spec)
    with torch.inference_mode():
        logits = network(torch.rand(1, 1, 2 * x, y, z))
    assert logits.shape == (1, 2, 2 * x, y, z)


@pytest.mark.parametrize("name", NETWORKS)
def test_divisor_is_the_product_of_the_strides(name: str) -> None:
    assert network_divisor(small(name)) == DIVISORS[name]


@pytest.mark.parametrize("name", NETWORKS)
def test_multiples_of_the_divisor_work(name: str) -> None:
    network = build_network(small(name), out_channels=3).eval()
    x, y, z = DIVISORS[name]
    for shape in ((2 * x, y, z), (x, 2 * y, 3 * z)):
        with torch.inference_mode():
            assert network(torch.rand(2, 1, *shape)).shape == (2, 3, *shape)


@pytest.mark.parametrize(("name", "axis"), list(product(NETWORKS, range(3))))
def test_other_sizes_are_refused_before_torch_fails(name: str, axis: int) -> None:
    network = build_network(small(name)).eval()
    shape = [2 * step for step in DIVISORS[name]]
    shape[axis] += DIVISORS[name][axis] // 2
    with pytest.raises(ModelError, match="multiple of the network's divisor") as caught, torch.inference_mode():
        network(torch.rand(1, 1, *shape))
    assert caught.value.facts["input"] == "×".join(map(str, shape))
    assert caught.value.facts["divisor"] == "×".join(map(str, DIVISORS[name]))


def test_an_input_with_one_voxel_at_the_bottom_is_refused() -> None:
    with pytest.raises(ModelError, match="larger than the network's divisor"):
        build_network(small("unet"))(torch.rand(1, 1, 4, 4, 2))


@pytest.mark.parametrize("name", NETWORKS)
def test_the_result_of_a_patch_does_not_depend_on_its_batch(name: str) -> None:
    torch.manual_seed(0)
    network = build_network(small(name))
    x, y, z = DIVISORS[name]
    patches = torch.rand(2, 1, 2 * x, y, z)
    with torch.no_grad():
        together, alone = network(patches), network(patches[1:])
    both, one = (out if isinstance(out, list) else [out] for out in (together, alone))
    torch.testing.assert_close([logits[1:] for logits in both], one, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_only_operations_that_repeat_themselves(name: str) -> None:
    unrepeatable = (nn.Upsample, nn.MaxPool3d, nn.AdaptiveAvgPool3d, nn.AvgPool3d)
    assert not [module for module in build_network(small(name)).modules() if isinstance(module, unrepeatable)]


@pytest.mark.parametrize("name", NETWORKS)
def test_dropout_reaches_the_network(name: str) -> None:
    def rates(dropout: float) -> set[float]:
        network = build_network(small(name, dropout=dropout))
        kinds = (nn.Dropout, nn.Dropout2d, nn.Dropout3d)
        return {module.p for module in network.modules() if isinstance(module, kinds)}

    assert 0.25 in rates(0.25)
    assert 0.25 not in rates(0.0)


@pytest.mark.parametrize("name", ["unet", "dynunet", "segresnet", "attention_unet", "resnet_unet"])
def test_batch_norm_is_there_when_asked_for(name: str) -> None:
    norms = [module for module in build_network(small(name, norm="batch")).modules() if "Norm" in type(module).__name__]
    assert norms
    assert all(isinstance(module, nn.BatchNorm3d) for module in norms)


def test_an_unknown_network_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="unknown network") as caught:
        build_network({"name": "dynunett"})
    assert caught.value.hint == "network=dynunet"
    with pytest.raises(ConfigError, match="the network must be one that segpipe ships"):
        network_divisor({"name": "monai.networks.nets.UNet"})


def test_unknown_and_missing_keys_are_reported_together() -> None:
    spec = small("unet", chanels=[1, 2])
    del spec["norm"]
    with pytest.raises(ConfigError, match="unet has missing or unknown keys") as caught:
        build_network(spec)
    assert caught.value.facts["1"].startswith("network.chanels: no such key")
    assert caught.value.facts["1"].endswith("did you mean channels?")
    assert caught.value.facts["2"] == "network.norm: must be given"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (small("unet", strides=[2]), "3 channels need 2 strides"),
        (small("attention_unet", strides=[2]), "3 channels need 2 strides"),
        (small("dynunet", strides=[1, 2]), "4 channels need 4 strides"),
        (small("dynunet", strides=[2, 2, 2, 2]), "the first stride must be 1"),
        (small("dynunet", deep_supervision=3), "deep supervision needs a level"),
        (small("segresnet", blocks_up=[1]), "one level fewer goes up than down"),
        (small("swin_unetr", width=13), "cannot be built from these values"),
        (small("unet", strides=[[2, 2], 2]), "cannot be built from these values"),
    ],
)
def test_values_that_do_not_belong_together_are_refused(spec: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_network(spec)
