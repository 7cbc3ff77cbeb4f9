from math import log
from pathlib import Path

import pytest
import torch
import yaml

from segpipe.errors import ConfigError
from segpipe.labels import LabelMap
from segpipe.training.optimisation.losses import LOSSES, build_loss

CONF = Path(__file__).parents[3] / "conf" / "loss"


def logits(*lesion_probabilities: float) -> torch.Tensor:
    p = torch.tensor(lesion_probabilities, dtype=torch.float64)
    return torch.stack([torch.zeros_like(p), torch.log(p / (1 - p))]).reshape(1, 2, len(p), 1, 1)


def labels(*values: int) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.uint8).reshape(1, 1, len(values), 1, 1)


def shipped(name: str) -> dict[str, object]:
    content: dict[str, object] = yaml.safe_load((CONF / f"{name}.yaml").read_text())
    return content


def value(spec: dict[str, object], outputs: torch.Tensor | list[torch.Tensor], label: torch.Tensor) -> float:
    return float(build_loss(spec)(outputs, label))


def test_every_loss_has_a_configuration_and_every_configuration_a_loss() -> None:
    named = {shipped(file.stem).get("name") for file in CONF.glob("*.yaml")}
    assert named - {None} == set(LOSSES)  # an option that builds on another one does not name it again


@pytest.mark.parametrize("name", LOSSES)
def test_shipped_configuration_gives_a_finite_loss_that_falls_along_its_gradient(name: str) -> None:
    torch.manual_seed(0)
    loss = build_loss(shipped(name))
    label = (torch.rand(2, 1, 8, 8, 8) > 0.7).to(torch.uint8)
    outputs = torch.randn(2, 2, 8, 8, 8, requires_grad=True)
    before = loss(outputs, label)
    before.backward()
    assert before.isfinite()
    assert outputs.grad is not None
    with torch.no_grad():
        assert loss(outputs - 10.0 * outputs.grad, label) < before


@pytest.mark.parametrize("name", LOSSES)
def test_a_sure_and_right_network_loses_nothing_and_a_wrong_one_much(name: str) -> None:
    label = labels(1, 1, 0, 0)
    right, wrong = logits(1 - 1e-7, 1 - 1e-7, 1e-7, 1e-7), logits(1e-7, 1e-7, 1 - 1e-7, 1 - 1e-7)
    assert value(shipped(name), right, label) == pytest.approx(0.0, abs=1e-4)
    assert value(shipped(name), wrong, label) > 0.9


@pytest.mark.parametrize("name", LOSSES)
def test_a_patch_without_any_lesion_gives_finite_gradients(name: str) -> None:
    outputs = torch.zeros(1, 2, 4, 4, 4, requires_grad=True)
    build_loss(shipped(name))(outputs, torch.zeros(1, 1, 4, 4, 4, dtype=torch.uint8)).backward()
    assert outputs.grad is not None
    assert outputs.grad.isfinite().all()


def test_dice_by_hand() -> None:
    # Lesion: 2·0.9 / ((0.9 + 0.2) + 1) = 1.8 / 2.1
    spec = {"name": "dice", "include_background": False, "batch_dice": False}
    assert value(spec, logits(0.9, 0.2), labels(1, 0)) == pytest.approx(1 - 1.8 / 2.1, abs=1e-5)
    # Background: 2·0.8 / ((0.1 + 0.8) + 1) = 1.6 / 1.9
    both = 1 - (1.8 / 2.1 + 1.6 / 1.9) / 2
    assert value({**spec, "include_background": True}, logits(0.9, 0.2), labels(1, 0)) == pytest.approx(both, abs=1e-5)


def test_batch_dice_divides_after_the_batch_is_summed() -> None:
    outputs = torch.cat([logits(0.9, 0.2), logits(0.5, 0.5)])
    label = torch.cat([labels(1, 0), labels(0, 0)])
    spec = {"name": "dice", "include_background": False, "batch_dice": True}
    assert value(spec, outputs, label) == pytest.approx(1 - 1.8 / 3.1, abs=1e-5)
    alone = (1 - 1.8 / 2.1 + 1.0) / 2  # the second patch has no lesion, so it scores 0
    assert value({**spec, "batch_dice": False}, outputs, label) == pytest.approx(alone, abs=1e-4)


def test_cross_entropy_by_hand() -> None:
    spec = {"name": "cross_entropy", "lesion_weight": 1.0}
    expected = -(log(0.9) + log(0.8)) / 2
    assert value(spec, logits(0.9, 0.2), labels(1, 0)) == pytest.approx(expected, rel=1e-5)
    weighted = -(3 * log(0.9) + log(0.8)) / 4
    assert value({**spec, "lesion_weight": 3.0}, logits(0.9, 0.2), labels(1, 0)) == pytest.approx(weighted, rel=1e-5)


def test_a_smooth_label_gives_all_classes_their_share_alike() -> None:
    """Labels of 0.95 and 0.05, whose voxels keep the weights of their own class."""
    spec = {"name": "cross_entropy", "lesion_weight": 3.0, "label_smoothing": 0.1}
    lesion, background = 0.95 * log(0.9) + 0.05 * log(0.1), 0.95 * log(0.8) + 0.05 * log(0.2)
    expected = -(3 * lesion + background) / 4
    assert value(spec, logits(0.9, 0.2), labels(1, 0)) == pytest.approx(expected, rel=1e-5)
    of_regions_alike = {**spec, "label_smoothing": 0.2}
    outputs = torch.logit(torch.tensor([[0.9], [0.2]])).reshape(1, 2, 1, 1, 1)
    whole, core = 0.9 * log(0.9) + 0.1 * log(0.1), 0.9 * log(0.8) + 0.1 * log(0.2)
    found = build_loss(of_regions_alike, NESTED)(outputs, labels(1))
    assert float(found) == pytest.approx(-(3 * whole + core) / 4, rel=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_smooth_cross_entropy_is_that_of_torch(smoothing: float) -> None:
    torch.manual_seed(0)
    outputs, label = torch.randn(2, 3, 3, 4, 5), torch.randint(0, 3, (2, 1, 3, 4, 5))
    expected = torch.nn.functional.cross_entropy(outputs, label[:, 0], label_smoothing=smoothing)
    spec = {"name": "cross_entropy", "lesion_weight": 1.0, "label_smoothing": smoothing}
    assert float(build_loss(spec, EXCLUSIVE)(outputs, label)) == pytest.approx(float(expected))


def test_cross_entropy_reads_voxels_in_their_places() -> None:
    torch.manual_seed(0)
    outputs, label = torch.randn(2, 2, 3, 4, 5), torch.randint(0, 2, (2, 1, 3, 4, 5))
    expected = torch.nn.functional.cross_entropy(outputs, label[:, 0])
    assert value({"name": "cross_entropy", "lesion_weight": 1.0}, outputs, label) == pytest.approx(float(expected))


def test_focal_by_hand() -> None:
    # -(1-p)² log p of the true class, over 2 voxels × 2 classes
    spec = {"name": "focal", "gamma": 2.0, "lesion_weight": 1.0}
    lesion, background = -(0.1**2) * log(0.9), -(0.2**2) * log(0.8)
    assert value(spec, logits(0.9, 0.2), labels(1, 0)) == pytest.approx((lesion + background) / 4, rel=1e-5)
    spec = {**spec, "lesion_weight": 5.0}
    assert value(spec, logits(0.9, 0.2), labels(1, 0)) == pytest.approx((5 * lesion + background) / 4, rel=1e-5)


def test_tversky_by_hand() -> None:
    # tp 0.9, false positives 0.2, false negatives 0.1
    spec = {
        "name": "tversky", "false_positive_weight": 0.3, "false_negative_weight": 0.7, "include_background": False,
        "batch_dice": False,
    }  # fmt: skip
    expected = 1 - 0.9 / (0.9 + 0.3 * 0.2 + 0.7 * 0.1)
    assert value(spec, logits(0.9, 0.2), labels(1, 0)) == pytest.approx(expected, abs=1e-5)


def test_generalized_dice_by_hand() -> None:
    # Volumes: lesion 1 voxel, background 2, so weights 1 and 1/4 (square) or 1 and 1/2 (simple).
    outputs, label = logits(0.9, 0.2, 0.1), labels(1, 0, 0)
    for kind, background in (("square", 1 / 4), ("simple", 1 / 2), ("uniform", 1.0)):
        hits = 0.9 + background * (0.8 + 0.9)
        sizes = (1.2 + 1) + background * (1.8 + 2)
        spec = {"name": "generalized_dice", "volume_weight": kind, "batch_dice": False}
        assert value(spec, outputs, label) == pytest.approx(1 - 2 * hits / sizes, abs=1e-5)


def test_dice_ce_and_dice_focal_are_weighted_sums() -> None:
    outputs, label = logits(0.9, 0.2), labels(1, 0)
    dice = 1 - 1.8 / 2.1
    cross_entropy = -(3 * log(0.9) + log(0.8)) / 4
    spec = {
        "name": "dice_ce", "dice_weight": 2.0, "ce_weight": 0.5, "lesion_weight": 3.0, "include_background": False,
        "batch_dice": True,
    }  # fmt: skip
    assert value(spec, outputs, label) == pytest.approx(2 * dice + 0.5 * cross_entropy, abs=1e-4)
    focal = (-3 * 0.1 * log(0.9) - 0.2 * log(0.8)) / 4
    spec = {
        "name": "dice_focal", "dice_weight": 2.0, "focal_weight": 0.5, "gamma": 1.0, "lesion_weight": 3.0,
        "include_background": False, "batch_dice": True,
    }  # fmt: skip
    assert value(spec, outputs, label) == pytest.approx(2 * dice + 0.5 * focal, abs=1e-4)


def test_deep_supervision_weighs_levels_by_half_and_half_again() -> None:
    spec = {"name": "cross_entropy", "lesion_weight": 1.0}
    label = labels(1, 1, 0, 0)
    full, half = logits(0.9, 0.9, 0.2, 0.2), logits(0.6, 0.3)
    full_loss, half_loss = -(log(0.9) + log(0.8)) / 2, -(log(0.6) + log(0.7)) / 2
    assert value(spec, [full, half], label) == pytest.approx((full_loss + 0.5 * half_loss) / 1.5, rel=1e-5)
    assert value(spec, [full], label) == pytest.approx(full_loss, rel=1e-5)


def test_the_loss_of_half_precision_logits_is_float32() -> None:
    loss = build_loss(shipped("dice_ce"))(torch.randn(1, 2, 4, 4, 4).bfloat16(), torch.ones(1, 1, 4, 4, 4))
    assert loss.dtype == torch.float32


def test_an_unknown_loss_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="unknown loss") as caught:
        build_loss({"name": "dice_cee"})
    assert caught.value.hint == "loss=dice_ce"


PARTS = {1: "rim", 2: "core"}
EXCLUSIVE = LabelMap.build(PARTS, ignore=255)
NESTED = LabelMap.build(PARTS, regions={"whole": [1, 2], "core": [2]}, ignore=255)
PROBABILITIES = torch.tensor([[0.7, 0.2, 0.1], [0.2, 0.5, 0.3], [0.1, 0.3, 0.6]], dtype=torch.float64)
"""Of background, rim and core, in a row of three voxels that are these."""
SIGMOIDS = torch.tensor([[0.2, 0.9, 0.8], [0.1, 0.25, 0.5]], dtype=torch.float64)
"""Of the whole and of the core in the same voxels."""


def of_classes(probabilities: torch.Tensor) -> torch.Tensor:
    return probabilities.T.log().reshape(1, 3, -1, 1, 1)


def of_regions(probabilities: torch.Tensor) -> torch.Tensor:
    return torch.logit(probabilities).reshape(1, 2, -1, 1, 1)


def bare(name: str, **changes: object) -> dict[str, object]:
    return {**shipped(name), **changes}


@pytest.mark.parametrize("ignored", [0, 2])
def test_cross_entropy_of_two_classes(ignored: int) -> None:
    """Weights 1, 3, 3; ignored voxels change nothing."""
    row = torch.cat([PROBABILITIES, PROBABILITIES[:ignored].flip(1)])
    label = labels(0, 1, 2, *[255] * ignored)
    expected = -(log(0.7) + 3 * log(0.5) + 3 * log(0.6)) / 7
    spec = bare("cross_entropy", lesion_weight=3.0)
    assert float(build_loss(spec, EXCLUSIVE)(of_classes(row), label)) == pytest.approx(expected, rel=1e-5)


def test_cross_entropy_of_regions() -> None:
    """Inside a region a voxel weighs 3, outside 1: the whole has two voxels, the core one."""
    inside = log(0.9) + log(0.8) + log(0.5)
    outside = log(0.8) + log(0.9) + log(0.75)
    expected = -(3 * inside + outside) / (3 * 3 + 3)
    found = build_loss(bare("cross_entropy", lesion_weight=3.0), NESTED)(of_regions(SIGMOIDS), labels(0, 1, 2))
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_dice_of_two_classes_is_the_mean_over_both() -> None:
    rim, core = 2 * 0.5 / (1.0 + 1), 2 * 0.6 / (1.0 + 1)
    found = build_loss(bare("dice", include_background=False), EXCLUSIVE)(of_classes(PROBABILITIES), labels(0, 1, 2))
    assert float(found) == pytest.approx(1 - (rim + core) / 2, abs=1e-4)


def test_dice_of_regions_is_the_mean_over_both() -> None:
    whole, core = 2 * 1.7 / (1.9 + 2), 2 * 0.5 / (0.85 + 1)
    found = build_loss(shipped("dice"), NESTED)(of_regions(SIGMOIDS), labels(0, 1, 2))
    assert float(found) == pytest.approx(1 - (whole + core) / 2, abs=1e-4)


def test_focal_loss_of_regions_weighs_what_is_inside() -> None:
    terms = [3 * -log(p) * (1 - p) ** 2 for p in (0.9, 0.8, 0.5)] + [-log(p) * (1 - p) ** 2 for p in (0.8, 0.9, 0.75)]
    found = build_loss({"name": "focal", "gamma": 2.0, "lesion_weight": 3.0}, NESTED)(
        of_regions(SIGMOIDS), labels(0, 1, 2)
    )
    assert float(found) == pytest.approx(sum(terms) / 6, rel=1e-5)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("map_of", [EXCLUSIVE, NESTED], ids=["classes", "regions"])
def test_ignored_voxels_change_no_loss_and_get_no_gradient(name: str, map_of: LabelMap) -> None:
    torch.manual_seed(0)
    label = torch.randint(0, 3, (2, 1, 4, 4, 4)).to(torch.uint8)
    label[:, :, 2:] = 255
    outputs = torch.randn(2, map_of.channels, 4, 4, 4, requires_grad=True)
    loss = build_loss(shipped(name), map_of)
    value = loss(outputs, label)
    value.backward()
    assert float(value.detach()) == pytest.approx(float(loss(outputs[:, :, :2], label[:, :, :2]).detach()), rel=1e-5)
    assert outputs.grad is not None
    assert outputs.grad[:, :, 2:].eq(0).all()
    assert outputs.grad[:, :, :2].ne(0).any()


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("map_of", [EXCLUSIVE, NESTED], ids=["classes", "regions"])
def test_a_patch_in_which_nothing_counts_costs_nothing(name: str, map_of: LabelMap) -> None:
    outputs = torch.randn(1, map_of.channels, 4, 4, 4, requires_grad=True)
    value = build_loss(shipped(name), map_of)(outputs, torch.full((1, 1, 4, 4, 4), 255))
    value.backward()
    assert float(value.detach()) == 0
    assert outputs.grad is not None
    assert outputs.grad.eq(0).all()


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("map_of", [EXCLUSIVE, NESTED], ids=["classes", "regions"])
def test_losses_of_several_classes_fall_along_their_gradient(name: str, map_of: LabelMap) -> None:
    torch.manual_seed(0)
    label = torch.randint(0, 3, (2, 1, 4, 4, 4)).to(torch.uint8)
    outputs = torch.randn(2, map_of.channels, 4, 4, 4, requires_grad=True)
    loss = build_loss(shipped(name), map_of)
    before = loss(outputs, label)
    before.backward()
    assert outputs.grad is not None
    with torch.no_grad():
        assert loss(outputs - 10.0 * outputs.grad, label) < before
