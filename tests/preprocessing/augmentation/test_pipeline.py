"""Augmentation by configuration: Hydra's words for it, mistakes before any work, and transforms of anybody."""

import random

import numpy as np
import pytest
import torch

from segpipe.cli.train import registries
from segpipe.config.check import settings_of
from segpipe.config.compose import compose
from segpipe.errors import ConfigError
from segpipe.preprocessing.augmentation import Augmentation, build_augmentation
from tests.parts.plug_ins import install
from tests.samples.prepared_cases import augmentation_spec

OWN = "segpipe.preprocessing.augmentation"
MONAI_NOISE = "monai.transforms.RandGaussianNoised"
PRESETS = ["none", "light", "light_voi", "strong", "monai"]


def composed(*words):
    return settings_of(compose(words, registries), registries()).augmentation


def refused(*words):
    with pytest.raises(ConfigError) as caught:
        composed(*words)
    return str(caught.value)


def patch_of(seed=0, shape=(1, 8, 8, 6)):
    image = torch.rand(shape, generator=torch.Generator().manual_seed(seed))
    return {"image": image, "label": (image > 0.5).to(torch.uint8)}


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_what_its_file_says(name):
    assert list(composed(f"augmentation={name}").transforms) == list(augmentation_spec(name))


def test_the_monai_preset_is_wholly_monais():
    assert {type(one).__module__.split(".")[0] for one in composed("augmentation=monai").transforms.values()} == {
        "monai"
    }


def test_transforms_are_overridden_deleted_and_added_by_name():
    augmentation = composed(
        "augmentation.noise.prob=0.3",
        "~augmentation.contrast",
        f"+augmentation.mine._target_={MONAI_NOISE}",
        "+augmentation.mine.keys=image",
    )
    assert list(augmentation.transforms) == ["spatial", "noise", "brightness", "mine"]
    assert augmentation.transforms["noise"].prob == 0.3


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["augmentation.noise.prob=2"], "augmentation.noise: segpipe.preprocessing.augmentation.RandNoised cannot be"),
        (["augmentation.noise.prob=2"], "prob=2: input should be less than or equal to 1"),
        (["augmentation.spatial.scale_range=[1.4,0.7]"], "must go from its lower to its upper end"),
        (["+augmentation.noise.prb=1"], "augmentation.noise.prb: no such key; allowed: keys, prob, std_range; did you"),
        (["+augmentation.mine.prob=1"], "augmentation.mine: must have a _target_, e.g. augmentation.mine._target_="),
        (["+augmentation.mine._target_=monai.transforms.RandFlipp"], "did you mean RandFlip?"),
        ([f"+augmentation.mine._target_={MONAI_NOISE}"], "augmentation.mine.keys: must be given"),
        (["+augmentation.mine._target_=nowhere.Flip"], "nowhere.Flip cannot be imported"),
        (["+augmentation.mine._target_=builtins.dict"], "augmentation.mine: must build a transform that can be called"),
        (
            ["+augmentation.mine={_target_:monai.transforms.RandSpatialCropd,keys:[image,label],roi_size:[8,8,8]}"],
            "augmentation.mine: a transform of the augmentation fails on a patch (ValueError: the patch must keep its",
        ),
        (
            ["+augmentation.mine={_target_:monai.transforms.RandFlipd,keys:imag,prob:1}"],
            "augmentation.mine: a transfor",
        ),
        (["+augmentation.mine=3"], "augmentation.mine: must have a _target_"),
        (
            ["+augmentation.mine._target_=monai.transforms.OneOf", "+augmentation.mine.transforms=[{_target_:a.b}]"],
            "augmentation.mine.transforms.0._target_=a.b: a.b cannot be imported",
        ),
    ],
)
def test_a_mistake_is_explained_before_any_work(words, expected):
    assert expected in refused(*words)


def test_all_mistakes_are_reported_together():
    text = refused("augmentation.noise.prob=2", "+augmentation.spatial.filp=1", "recipe.patch=[0,8,8]")
    assert "3 mistakes" in text
    with pytest.raises(ConfigError, match="the augmentation cannot be built") as caught:
        build_augmentation({"a": {"_target_": f"{OWN}.RandNoised", "prob": 2}, "b": {"prob": 1}})
    assert "1  augmentation.a: " in str(caught.value)
    assert "2  augmentation.b: must have a _target_" in str(caught.value)


DARK = """
class Dark:
    def __init__(self, by=0.1):
        self.by = by

    def __call__(self, patch):
        return {**patch, "image": patch["image"] - self.by}
"""
DARK_POINTS = "[segpipe.augmentations]\ndark = PKG.dark:Dark\ngone = PKG.dark:Gone\n"


def test_a_plug_in_registers_transforms_by_name(tmp_path, monkeypatch):
    no_name = "+augmentation.mine.name=dark"
    assert "no installed package registers a name (segpipe.augmentations)" in refused(no_name)
    install(tmp_path, monkeypatch, {"dark": DARK}, DARK_POINTS)
    augmentation = composed("augmentation=none", "+augmentation.mine.name=dark", "+augmentation.mine.by=0.25")
    patch = patch_of()
    changed = augmentation.apply(patch, np.random.default_rng(0))["image"]
    assert torch.equal(changed, (patch["image"] - 0.25).clamp(0, 1))
    for words, expected in (
        (
            ["+augmentation.mine.name=drak"],
            "augmentation.mine.name=drak: must be one of dark, gone, or augmentation.mi",
        ),
        (
            ["+augmentation.mine.name=dark", "+augmentation.mine.bye=1"],
            "augmentation.mine.bye: no such key; allowed: by",
        ),
        (
            ["+augmentation.mine.name=gone"],
            "augmentation.mine.name=gone: the augmentation of a plug-in cannot be import",
        ),
    ):
        assert expected in refused(*words)


@pytest.mark.parametrize("name", ["light", "strong"])
def test_probability_zero_changes_nothing(name):
    spec = augmentation_spec(name)
    for arguments in spec.values():
        arguments.update({key: 0.0 for key in arguments if key == "prob" or key.endswith("_prob")})
    augmentation = build_augmentation(spec)
    rng, patch = np.random.default_rng(0), patch_of()
    for _ in range(20):
        motion = augmentation.draw_motion(rng, (1.0, 1.0, 1.0))
        assert (motion.is_still, motion.flips, motion.rot90) == (True, (), 0)
        assert torch.equal(augmentation.apply(patch, rng)["image"], patch["image"])


def test_a_spatial_transform_that_comes_first_is_for_the_reading_and_later_ones_move_the_patch():
    flip = {"_target_": f"{OWN}.RandSpatiald", "flip_prob": 1.0}
    clip = {"_target_": f"{OWN}.ClipIntensityd"}
    rng, patch = np.random.default_rng(0), patch_of()
    first = build_augmentation({"flip": flip, "clip": clip})
    assert first.draw_motion(rng, (1.0, 1.0, 1.0)).flips == (0, 1, 2)
    assert torch.equal(first.apply(patch, rng)["image"], patch["image"])
    later = build_augmentation({"clip": clip, "flip": flip})
    assert later.draw_motion(rng, (1.0, 1.0, 1.0)).flips == ()
    assert torch.equal(later.apply(patch, rng)["label"], patch["label"].flip((1, 2, 3)))


def with_global_randomness(patch):
    shift = torch.rand(1) * 0.1 + np.random.rand() * 0.1 + random.random() * 0.1
    return {**patch, "image": patch["image"] * 0.5 + shift}


def test_a_callable_of_ones_own_may_draw_from_global_random_numbers():
    augmentation = Augmentation({"mine": with_global_randomness})
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    before = random.getstate(), torch.get_rng_state(), np.random.get_state()[1].tolist()
    one = augmentation.apply(patch_of(), np.random.default_rng(5))
    assert random.getstate() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])
    assert np.random.get_state()[1].tolist() == before[2]
    random.seed(2), np.random.seed(2), torch.manual_seed(2)
    same = augmentation.apply(patch_of(), np.random.default_rng(5))
    other = augmentation.apply(patch_of(), np.random.default_rng(6))
    assert torch.equal(one["image"], same["image"])
    assert not torch.equal(one["image"], other["image"])


def with_randomness_of_its_own(patch):
    return {**patch, "image": patch["image"] * 0.5 + np.random.default_rng().random() * 0.5}


def test_a_callable_whose_randomness_cannot_be_seeded_is_refused_before_any_work():
    target = f"{__name__}.with_randomness_of_its_own"
    text = refused(f"+augmentation.mine={{_target_:{target},_partial_:true}}")
    assert "augmentation.mine: must make the same patch again from the same seed; draw from self.R of a" in text
    compose([f"+augmentation.mine={{_target_:{__name__}.with_global_randomness,_partial_:true}}"], registries)


def test_the_image_stays_in_the_window_and_patches_stay_plain_tensors():
    def stretch(patch):
        return {"image": patch["image"].double().numpy() * 4 - 2, "label": patch["label"].float() * 0.9}

    patch = Augmentation({"stretch": stretch}).apply(patch_of(), np.random.default_rng(0))
    assert (float(patch["image"].min()), float(patch["image"].max())) == (0.0, 1.0)
    assert (patch["image"].dtype, patch["label"].dtype) == (torch.float32, torch.uint8)
    assert torch.equal(patch["label"], patch_of()["label"])


@pytest.mark.parametrize(
    ("transform", "expected"),
    [
        (lambda patch: {**patch, "image": patch["image"][:, :4]}, "must keep its shape (1, 8, 8, 6), got (1, 4, 8, 6)"),
        (lambda patch: {"image": patch["image"]}, "KeyError: 'label'"),
        (lambda patch: 1 / 0, "ZeroDivisionError: division by zero"),
    ],
)
def test_a_transform_that_fails_is_named(transform, expected):
    with pytest.raises(ConfigError, match="a transform of the augmentation fails on a patch") as caught:
        Augmentation({"mine": transform}).apply(patch_of(), np.random.default_rng(0))
    assert "augmentation.mine" in str(caught.value)
    assert expected in str(caught.value)
    assert "~augmentation.mine   trains without it" in str(caught.value)
