"""Patches of a batch mixed with each other, on batches small enough to be mixed by hand."""

from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from segpipe.cli.train import registries
from segpipe.config.check import checked, plain
from segpipe.config.compose import compose
from segpipe.errors import ConfigError
from segpipe.labels import LabelMap
from segpipe.training.optimisation.mixing import MIXINGS, build_mixing

CONF = Path(__file__).parents[3] / "conf" / "mixing"
SIZE = (6, 5, 4)


def shipped(name, **changes):
    return {**yaml.safe_load((CONF / f"{name}.yaml").read_text()), **changes}


def batch(patches=4, lesion=1):
    """Patches of one grey value each, 0, 1, 2 …, whose lesions are one plane each, of different numbers."""
    image = torch.arange(patches).float().reshape(-1, 1, 1, 1, 1).expand(-1, 1, *SIZE).clone()
    label = torch.zeros(patches, 1, *SIZE, dtype=torch.uint8)
    for number in range(patches):
        label[number, 0, number] = lesion
    return image, label


def mixed(name, seed=0, labels=None, lesion=1, **changes):
    torch.manual_seed(seed)
    image, label = batch(lesion=lesion)
    kept = image.clone(), label.clone()
    found = build_mixing(shipped(name, **changes), *([labels] if labels else []))(image, label)
    assert torch.equal(image, kept[0])
    assert torch.equal(label, kept[1])
    return found


def test_every_mixing_has_an_option_and_every_option_a_mixing():
    assert {shipped(file.stem)["name"] for file in CONF.glob("*.yaml")} == set(MIXINGS)


def test_none_leaves_the_batch_and_the_random_numbers_alone():
    image, label = batch()
    torch.manual_seed(0)
    before = torch.get_rng_state()
    found, targets = build_mixing(None)(image, label)
    assert found is image
    assert targets == [(1.0, label)]
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", ["mixup", "cutmix", "copy_paste"])
def test_a_mixing_is_the_same_again_from_the_same_seed_and_another_from_another(name):
    one, again, other = (mixed(name, seed, prob=1.0)[0] for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("name", ["mixup", "cutmix", "copy_paste"])
def test_with_a_probability_of_nought_nothing_is_mixed(name):
    image, targets = mixed(name, prob=0.0)
    assert torch.equal(image, batch()[0])
    assert [weight for weight, _ in targets] == [1.0]
    assert torch.equal(targets[0][1], batch()[1])


def test_mixup_fades_images_and_weighs_the_losses_of_both_labels_by_the_same_shares():
    image, ((first, label), (second, other)) = mixed("mixup", alpha=1.0)
    _, plain_label = batch()
    assert 0 < first < 1
    assert first + second == pytest.approx(1)
    assert torch.equal(label, plain_label)
    partners = [next(n for n in range(4) if torch.equal(one, plain_label[n])) for one in other]
    assert sorted(partners) == [0, 1, 2, 3]
    for number, partner in enumerate(partners):
        assert image[number].unique().tolist() == pytest.approx([first * number + second * partner])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_cutmix_takes_one_box_of_image_and_label_alike(seed):
    image, [(weight, label)] = mixed("cutmix", seed, prob=1.0)
    _, plain_label = batch()
    assert weight == 1.0
    for number in range(4):
        grey = set(image[number].unique().int().tolist()) - {number}
        assert len(grey) <= 1
        partner = grey.pop() if grey else number
        inside = image[number] != number
        assert torch.equal(label[number], torch.where(inside, plain_label[partner], plain_label[number]))
        planes = [inside[0].any(dim=axes) for axes in ((1, 2), (0, 2), (0, 1))]
        box = planes[0][:, None, None] & planes[1][None, :, None] & planes[2][None, None]
        assert torch.equal(inside[0], box)


def test_the_boxes_of_cutmix_have_the_drawn_share_of_the_volume_where_no_border_cuts_them(monkeypatch):
    monkeypatch.setattr("segpipe.training.optimisation.mixing._draw_share", lambda alpha: 1 - 1 / 8)
    monkeypatch.setattr(torch, "rand", lambda size: torch.full(size, 0.5))
    torch.manual_seed(3)
    image = torch.arange(2.0).reshape(2, 1, 1, 1, 1).expand(2, 1, 8, 8, 4)
    while torch.equal(found := build_mixing(shipped("cutmix", prob=1.0))(image, image.byte())[0], image):
        pass  # every patch met itself
    assert (found[0] == 1).sum() == 4 * 4 * 2
    assert (found[0, 0, 2:6, 2:6, 1:3] == 1).all()


def test_copy_paste_takes_the_lesion_and_its_voxels_and_nothing_else():
    image, [(weight, label)] = mixed("copy_paste", prob=1.0)
    assert weight == 1.0
    partners = []
    for number in range(4):
        pasted = [plane for plane in range(4) if plane != number and bool(label[number, 0, plane].any())]
        partners += pasted or [number]
        expected_image, expected_label = (part[number].clone() for part in batch())
        for plane in pasted:
            expected_image[0, plane], expected_label[0, plane] = plane, 1
        assert torch.equal(image[number], expected_image)
        assert torch.equal(label[number], expected_label)
    assert sorted(partners) == [0, 1, 2, 3]
    assert partners != [0, 1, 2, 3]


def test_copy_paste_takes_every_class_and_not_what_is_ignored():
    labels = LabelMap.build({1: "solid", 2: "ground glass"}, ignore=255)
    assert not torch.equal(mixed("copy_paste", labels=labels, lesion=2, prob=1.0)[0], batch()[0])
    ignored, [(_, label)] = mixed("copy_paste", labels=labels, lesion=255, prob=1.0)
    assert torch.equal(ignored, batch()[0])
    assert torch.equal(label, batch(lesion=255)[1])


def mistakes(*words):
    """What is said of a configuration, by lines."""
    try:
        checked(plain(compose(["+experiment=lung_nodule", *words], registries)), registries())
    except ConfigError as error:
        return list(error.facts.values())
    return []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["mixing=mixup", "mixing.prob=2"], "mixing.prob=2: input should be less than or equal to 1"),
        (["mixing=cutmix", "mixing.alpha=0"], "mixing.alpha=0: input should be greater than 0"),
        (["mixing=mixup", "training.batch_size=1"], "mixing: needs another patch in the batch; training.batch_size=2"),
        (
            ["mixing=mixup", "+pretraining=masked_blocks"],
            "mixing: only outlines are mixed, and pretraining has none; mixing=no",
        ),
        (
            ["mixing._target_=torch.nn.Identity"],
            "mixing: must take images and labels of shape (2, 1, 8, 8, 8), and giv",
        ),
        (
            ["mixing._target_=tests.training.optimisation.test_mixing.shrinking"],
            "mixing: must keep the shape (2, 1, 8,",
        ),
    ],
)
def test_what_does_not_fit_is_said_before_any_work(words, message):
    (found,) = mistakes(*words)
    assert found.startswith(message)


def shrinking():
    """A mixing of another package that loses a voxel."""
    return lambda image, label: (image, [(1.0, label[..., 1:])])


def swapping():
    """A mixing of another package that is sound."""
    return lambda image, label: (image.flip(0), [(0.5, label.flip(0)), (0.5, label.flip(0))])


@pytest.mark.slow
def test_a_mixing_of_another_package_is_taken():
    assert mistakes(f"mixing._target_={__name__}.swapping") == []


@pytest.mark.parametrize(
    ("spec", "message"),
    [({"name": "mixupp"}, "unknown mixing"), ({"name": "mixup", "prob": 1.0}, "missing or unknown keys")],
)
def test_a_mixing_that_is_not_known_is_refused(spec, message):
    with pytest.raises(ConfigError, match=message):
        build_mixing(spec)
