"""Randomness is a function of (seed, index), whatever transform: for every random transform of MONAI on a 3-D patch."""

import inspect

import monai.transforms
import numpy as np
import pytest
import torch

from segpipe.preprocessing.augmentation import build_augmentation
from segpipe.preprocessing.sampling import Sampling
from segpipe.training.data.patches import PatchDataset, build_train_loader
from tests.preprocessing.augmentation.monai_transforms import COMPOSED, LEFT_OUT, PATCH_TRANSFORMS
from tests.samples.prepared_cases import augmentation_spec, make_recipe, make_scan, prepare


def random_dictionary_transforms() -> set[str]:
    found = [getattr(monai.transforms, name) for name in dir(monai.transforms)]
    classes = [item for item in found if inspect.isclass(item) and issubclass(item, monai.transforms.MapTransform)]
    return {
        item.__name__
        for item in classes
        if issubclass(item, monai.transforms.Randomizable) or item.__name__.startswith("Rand")
    }


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    image, mask = make_scan(lesions=[((5, 5, 5), 2), ((20, 20, 10), 6)])
    image[20:30, 8:20, 5:15] = -600
    return prepare(tmp_path_factory.mktemp("monai"), [(image, mask)], make_recipe())


def dataset_of(cases, spec):
    sampling = Sampling(lesion_fraction=0.7, shift=0.3)
    return PatchDataset(cases, make_recipe(), sampling=sampling, augmentation=build_augmentation(spec), seed=3)


def spec_of(name):
    known = {**PATCH_TRANSFORMS, **COMPOSED}
    often = {"prob": 0.9} if name in PATCH_TRANSFORMS else {}
    return {"spatial": {"_target_": "segpipe.preprocessing.augmentation.RandSpatiald", "flip_prob": 0.5}, "theirs": {
        "_target_": f"monai.transforms.{name}", **often, **known[name]}}  # fmt: skip


def content(patch):
    return b"".join(patch[key].numpy().tobytes() for key in ("image", "label"))


def test_every_random_transform_of_monai_is_covered_or_left_out_for_a_reason():
    assert random_dictionary_transforms() == PATCH_TRANSFORMS.keys() | LEFT_OUT.keys()
    assert not PATCH_TRANSFORMS.keys() & LEFT_OUT.keys()


@pytest.mark.parametrize("name", [*PATCH_TRANSFORMS, *COMPOSED])
def test_a_patch_is_a_function_of_seed_and_index(cases, name):
    dataset = dataset_of(cases, spec_of(name))
    first = [dataset[index] for index in range(6)]
    for patch in first:
        assert {key: (value.shape, value.dtype, type(value)) for key, value in patch.items()} == {
            "image": ((1, 16, 16, 8), torch.float32, torch.Tensor),
            "label": ((1, 16, 16, 8), torch.uint8, torch.Tensor),
        }
        assert 0 <= float(patch["image"].min()) <= float(patch["image"].max()) <= 1
    bare = dataset_of(cases, {"spatial": spec_of(name)["spatial"]})
    assert any(content(patch) != content(bare[index]) for index, patch in enumerate(first)), "it changes nothing"
    # another order, other global random numbers, and a transform that was made anew
    torch.manual_seed(77)
    np.random.seed(77)
    assert [content(dataset[index]) for index in (5, 2, 0)] == [content(first[index]) for index in (5, 2, 0)]
    again = dataset_of(cases, spec_of(name))
    assert [content(again[index]) for index in (4, 1)] == [content(first[index]) for index in (4, 1)]


@pytest.mark.parametrize("name", ["monai", "strong"])
def test_equal_with_and_without_workers(cases, name):
    dataset = dataset_of(cases, augmentation_spec(name))
    loaders = [
        build_train_loader(dataset, batch=3, steps=3, start_step=0, workers=workers, rank=0, world=1)
        for workers in (0, 2)
    ]
    alone, shared = ([content(batch) for batch in loader] for loader in loaders)
    assert alone == shared


def test_every_transform_of_monai_is_equal_with_and_without_workers(cases):
    spec = {name: {**spec_of(name)["theirs"], **({"prob": 0.3} if name in PATCH_TRANSFORMS else {})}
            for name in [*PATCH_TRANSFORMS, *COMPOSED]}  # fmt: skip
    dataset = dataset_of(cases, spec)
    loaders = [
        build_train_loader(dataset, batch=3, steps=4, start_step=0, workers=workers, rank=0, world=1)
        for workers in (0, 2)
    ]
    alone, shared = ([content(batch) for batch in loader] for loader in loaders)
    assert alone == shared
