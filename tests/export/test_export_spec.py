import numpy as np
import pytest

from segpipe.export.export_spec import Release, plain
from segpipe.preprocessing.recipe import Recipe
from tests.samples.small_models import RESNET, UNET, VOI, network_of


def release(spec=UNET, *, recipe=VOI, point=None, facts=None) -> Release:
    return Release(network_of(spec), spec, recipe, point or {}, facts or {})


def test_plain_is_what_json_knows() -> None:
    found = plain({1: (np.float32(0.5), np.int64(2), np.array([1, 2])), "x": float("nan"), "y": True, "z": None})
    assert found == {"1": [0.5, 2, [1, 2]], "x": None, "y": True, "z": None}
    assert type(found["1"][0]) is float
    assert type(found["1"][1]) is int


def test_the_window_is_the_patch_rounded_up_to_the_divisor() -> None:
    recipe = Recipe("r", (1.0, 1.0, 1.0), (-1000.0, 400.0), (30, 33, 9))
    assert release(RESNET, recipe=recipe).divisor == (4, 4, 2)
    assert release(RESNET, recipe=recipe).window == (32, 36, 10)


def test_an_empty_operating_point_has_defaults() -> None:
    found = release()
    assert (found.threshold, found.min_volume_mm3, found.min_probability, found.flips) == (0.5, 0.0, 0.0, ())


def test_only_networks_of_monai_have_a_definition() -> None:
    assert release().monai is not None
    assert release().monai["_target_"] == "monai.networks.nets.UNet"
    assert release(RESNET).monai is None


def test_only_swin_has_a_fixed_shape() -> None:
    swin = {
        "name": "swin_unetr", "width": 12, "depths": [1, 1, 1, 1], "heads": [1, 2, 2, 4], "window": [4, 4, 4],
        "dropout": 0.0, "attention_dropout": 0.0,
    }  # fmt: skip
    assert release(swin).fixed_shape == (32, 32, 32)
    assert release(swin).free_divisor is None
    assert release({"name": "ensemble", "members": 2, "member": swin}).fixed_shape == (32, 32, 32)
    assert release().fixed_shape is None
    assert release().free_divisor == (2, 2, 2)


@pytest.mark.parametrize(
    ("facts", "phantom"),
    [({"data": "phantom"}, True), ({"data": "implanted_phantom"}, True), ({"data": "lidc"}, False), ({}, False)],
)
def test_phantoms_are_recognised(facts, phantom) -> None:
    assert release(facts=facts).on_phantom is phantom
