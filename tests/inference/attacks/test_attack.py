"""Attacks on small networks: what they may change, and what they cost."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from segpipe.case import Case
from segpipe.geometry import Grid
from segpipe.inference.attacks.attack import LEVELS, METHODS, attacks_on, fgsm, perturb
from segpipe.inference.attacks.scan_loss import ScanLoss, Target, prepare, summed_surprise
from segpipe.inference.window.grid import SliceReader
from segpipe.labels import LabelMap
from segpipe.preprocessing.recipe import Recipe
from tests.samples.small_models import UNET, network_of

RECIPE = Recipe(name="small", spacing_mm=(1.0, 1.0, 1.0), window_hu=(-1000.0, 400.0), patch=(8, 8, 8), scope="scan")
NAMES = sorted(METHODS)


class Bright(nn.Module):
    """Log odds of 10 for each unit above 0.5, i.e. above −300 HU."""

    def __init__(self):
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(10.0))

    def forward(self, images):
        return torch.cat([torch.zeros_like(images), (images - 0.5) * self.slope], dim=1)


def scan(*, dtype=np.int16, spacing=1.0, shape=(20, 16, 12)):
    """A ball of 100 HU in noisy lung, axes other than a recipe's."""
    x, y, z = np.meshgrid(*(np.arange(count) for count in shape), indexing="ij")
    ball = np.sqrt((x - 10) ** 2 + (y - 8) ** 2 + (z - 6) ** 2) < 4
    image = np.where(ball, 100, -850) + np.random.default_rng(0).normal(0, 40, shape)
    image = np.rint(image) if np.issubdtype(dtype, np.integer) else image
    affine = np.diag([-spacing, spacing, spacing, 1.0])
    return Case("chest", image.astype(dtype), Grid(shape, affine), ball.astype(np.uint8))


@pytest.fixture(scope="module")
def target():
    torch.manual_seed(0)
    return Target(network_of(UNET).eval(), RECIPE, (2, 2, 2))


def loss_of(case, target):
    return float(ScanLoss(case, target)(torch.from_numpy(case.image.astype(np.float32))[None, None]))


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
@pytest.mark.parametrize("name", NAMES)
def test_no_voxel_changes_by_more_than_the_bound_and_a_bound_of_zero_changes_nothing(name, dtype, target):
    case = scan(dtype=dtype)
    same = perturb(case, target, METHODS[name], 0.0)
    np.testing.assert_array_equal(same.image, case.image)
    for attack in attacks_on(target, [name]).values():
        for severity, bound in zip((1, 5), (LEVELS[0], LEVELS[4]), strict=True):
            changed = attack.apply(case, severity)
            apart = np.abs(changed.image.astype(float) - case.image)
            assert bound - 0.6 < apart.max() <= bound + 1e-4
            assert changed.image.dtype == dtype
            assert changed.grid.matches(case.grid)
            np.testing.assert_array_equal(changed.mask, case.mask)


@pytest.mark.parametrize("name", NAMES)
def test_an_integer_scan_stays_within_its_own_values_and_the_bound_exactly(name, target):
    case = scan()
    changed = attacks_on(target, [name])[name].apply(case, 4).image.astype(int)
    assert np.abs(changed - case.image).max() == 22
    assert changed.min() >= case.image.min()
    assert changed.max() <= case.image.max()


@pytest.mark.parametrize("name", NAMES)
def test_the_loss_rises_with_the_bound(name, target):
    case = scan()
    attack = attacks_on(target, [name])[name]
    losses = [loss_of(case, target), *(loss_of(attack.apply(case, severity), target) for severity in (1, 3, 5))]
    assert losses == sorted(losses)
    assert losses[0] < losses[1] < losses[3]


def test_several_steps_cost_more_than_one(target):
    case, attacks = scan(), attacks_on(target, NAMES)
    once, often = (loss_of(attacks[name].apply(case, 5), target) for name in ("fgsm", "pgd"))
    assert often > once


def test_one_step_darkens_the_lesion_and_brightens_the_rest():
    """Of a network that calls bright voxels lesion the gradient's sign is known: + outside, − inside."""
    case = scan()
    changed = perturb(case, Target(Bright(), RECIPE, (1, 1, 1)), fgsm, 5.0)
    change = changed.image.astype(int) - case.image
    inside = (case.mask > 0) & (case.image - 5 >= case.image.min())
    assert set(change[inside]) == {-5}
    seen = (case.mask == 0) & (case.image > -1000)  # below the window there is no gradient
    assert set(change[seen]) == {5}
    assert not change[(case.mask == 0) & (case.image < -1000)].any()


def test_attacks_repeat_themselves_and_other_seeds_begin_elsewhere(target):
    case, attack = scan(), attacks_on(target, ["pgd"])["pgd"]
    before = torch.random.get_rng_state()
    first, again, other = (attack.apply(case, 3, seed=seed).image for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("scope", ["scan", "voi"])
@pytest.mark.parametrize("spacing", [1.0, 0.8])
def test_the_network_sees_what_a_prediction_shows_it(spacing, scope):
    transforms = ({"_target_": "monai.transforms.NormalizeIntensity", "subtrahend": 0.4, "divisor": 0.3},)
    recipe = replace(RECIPE, transforms=transforms, scope=scope, patch=(16, 16, 12))
    case, target = scan(spacing=spacing), Target(Bright(), recipe, (1, 1, 1))
    loss = ScanLoss(case, target)
    image = torch.from_numpy(case.image.astype(np.float32)).requires_grad_()
    frame = prepare(image, loss.grid, recipe)
    reader = SliceReader(case.image, loss.grid, recipe)
    shown = torch.stack([reader.read(number) for number in range(loss.grid.size[2])], dim=2)
    torch.testing.assert_close(frame.detach(), shown, atol=1e-5, rtol=0)
    frame.sum().backward()
    assert (image.grad != 0).float().mean() > 0.5


def test_the_gradient_of_a_scan_is_that_of_its_windows_together():
    """Eight windows of a network that sees single voxels are as good as one window of all."""
    case = scan(shape=(16, 16, 16))
    gradients = []
    for patch in ((8, 8, 8), (16, 16, 16)):
        image = torch.from_numpy(case.image.astype(np.float32))[None, None].requires_grad_()
        ScanLoss(case, Target(Bright(), replace(RECIPE, patch=patch), (1, 1, 1)))(image).sum().backward()
        gradients.append(image.grad)
    torch.testing.assert_close(*gradients)
    assert gradients[0].any()


class Shifted(Bright):
    """The same of the neighbour on one side."""

    def forward(self, images):
        return super().forward(images.roll(self.by, dims=2))


def test_the_loss_is_the_mean_over_the_mirrored_views():
    """Mirrored along x, a network that looks to the left is one that looks to the right."""
    case = scan(shape=(16, 16, 16))
    recipe, gradients, losses = replace(RECIPE, patch=(16, 16, 16)), [], []
    for by, flips in ((1, ()), (-1, ()), (1, (0,))):
        network, image = Shifted(), torch.from_numpy(case.image.astype(np.float32))[None, None].requires_grad_()
        network.by = by
        loss = ScanLoss(case, Target(network, recipe, (1, 1, 1), flips))(image)
        loss.sum().backward()
        losses.append(loss.item())
        gradients.append(image.grad)
    assert losses[0] != losses[1]
    assert losses[2] == pytest.approx((losses[0] + losses[1]) / 2)
    torch.testing.assert_close(gradients[2], (gradients[0] + gradients[1]) / 2)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 3))
def test_ignored_voxels_do_not_count(seed, ignored_at):
    """The surprise of two classes is −log of the reference's softmax, of a region −log of its sigmoid."""
    logits = torch.randn(1, 2, 4, 1, 1, generator=torch.Generator().manual_seed(seed))
    label = torch.tensor([0, 1, 0, 1], dtype=torch.uint8).reshape(1, 4, 1, 1)
    whole = -torch.log_softmax(logits, dim=1)[0, label.flatten().long(), range(4), 0, 0]
    torch.testing.assert_close(summed_surprise(logits, label, LabelMap.build({1: "nodule"})), whole.sum())
    label[0, ignored_at] = 9
    some = LabelMap.build({1: "nodule"}, ignore=9)
    torch.testing.assert_close(summed_surprise(logits, label, some), whole.sum() - whole[ignored_at])


def test_regions_have_a_surprise_each():
    labels = LabelMap.build({1: "core", 2: "rim"}, regions={"core": [1], "whole": [1, 2]})
    label = torch.tensor([0, 1, 2], dtype=torch.uint8).reshape(1, 3, 1, 1)
    found = summed_surprise(torch.full((1, 2, 3, 1, 1), 1.0), label, labels)
    sure, wrong = np.log1p(np.exp(-1)), np.log1p(np.exp(1))  # 3 memberships of 6: core and whole at 1, whole at 2
    assert float(found) == pytest.approx(3 * sure + 3 * wrong)
