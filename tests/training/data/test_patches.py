"""The stream of patches: equal for any workers and ranks and after any restart, apart from global randomness."""

import numpy as np
import pytest
import torch

from segpipe.preprocessing.augmentation import build_augmentation
from segpipe.preprocessing.sampling import Sampling
from segpipe.training.data.patches import PatchDataset, StepSampler, build_train_loader
from tests.samples.prepared_cases import augmentation_spec, make_recipe, make_scan, prepare

LESIONS = [[((5, 5, 5), 2), ((20, 20, 10), 6)], [((12, 9, 8), 10)]]


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    scans = [make_scan(lesions=lesions, seed=number) for number, lesions in enumerate(LESIONS)]
    return prepare(tmp_path_factory.mktemp("patches"), scans, make_recipe())


def make_dataset(cases, *, augmentation="strong", seed=3, hidden_borders=0.0, **recipe):
    sampling = Sampling(lesion_fraction=0.7, shift=0.3, hidden_borders=hidden_borders)
    augment = build_augmentation(augmentation_spec(augmentation))
    return PatchDataset(cases, make_recipe(**recipe), sampling=sampling, augmentation=augment, seed=seed)


def batches(dataset, *, batch=3, steps=4, start_step=0, workers=0, rank=0, world=1):
    loader = build_train_loader(
        dataset, batch=batch, steps=steps, start_step=start_step, workers=workers, rank=rank, world=world
    )
    return list(loader)


def same(one, other):
    return len(one) == len(other) and all(
        torch.equal(a[key], b[key]) for a, b in zip(one, other, strict=True) for key in ("image", "label")
    )


@pytest.mark.parametrize("augmentation", ["none", "light", "strong"])
@pytest.mark.parametrize("patch", [(16, 16, 8), (12, 20, 8), (48, 16, 30)])
def test_patches_are_what_a_network_takes(cases, augmentation, patch):
    dataset = make_dataset(cases, augmentation=augmentation, patch=patch)
    for index in range(25):
        item = dataset[index]
        image, label = item["image"], item["label"]
        assert image.shape == label.shape == (1, *patch)
        assert image.dtype == torch.float32
        assert label.dtype == torch.uint8
        assert image.is_contiguous()
        assert 0.0 <= float(image.min()) <= float(image.max()) <= 1.0
        assert set(label.unique().tolist()) <= {0, 1}


def test_without_augmentation_a_patch_is_cut_from_the_case(cases):
    dataset = make_dataset(cases, augmentation="none")
    image, label = dataset[5]["image"][0], dataset[5]["label"][0]
    found = 0
    for number, lesions in enumerate(LESIONS):
        scan, mask = make_scan(lesions=lesions, seed=number)
        expected = torch.from_numpy((np.clip(scan, -1000, 400) + 1000) / 1400).float()
        windows = expected.unfold(0, 16, 1).unfold(1, 16, 1).unfold(2, 8, 1)
        for start in torch.nonzero((windows[..., 0, 0, 0] - image[0, 0, 0]).abs() < 1e-6).tolist():
            if torch.allclose(windows[tuple(start)], image, atol=1e-6):
                box = tuple(slice(low, low + n) for low, n in zip(start, (16, 16, 8), strict=True))
                found += np.array_equal(mask[box], label.numpy())
    assert found == 1


@pytest.mark.parametrize(
    ("augmentation", "expected"),
    [
        ("none", [(0.742754, 0.008186, 240), (0.419231, 0.366699, 8)]),
        ("light", [(0.742651, 0.008285, 700), (0.557404, 0.320135, 0)]),
        ("light_voi", [(0.712834, 0.124917, 658), (0.544227, 0.310269, 8)]),
        ("strong", [(0.645272, 0.147978, 630), (0.692919, 0.229835, 0)]),
    ],
)
def test_a_preset_gives_the_patches_that_it_always_gave(cases, augmentation, expected):
    # mean and deviation of two images and the voxels of their labels, as they were before transforms were composed
    dataset = make_dataset(cases, augmentation=augmentation)
    for index, (mean, deviation, voxels) in zip((1, 7), expected, strict=True):
        image, label = dataset[index]["image"].double(), dataset[index]["label"]
        assert (float(image.mean()), float(image.std())) == pytest.approx((mean, deviation), abs=2e-6)
        assert int(label.sum()) == voxels


def test_equal_with_and_without_workers(cases):
    dataset = make_dataset(cases)
    assert same(batches(dataset), batches(dataset, workers=2))


def test_equal_for_any_number_of_threads(cases):
    dataset, threads = make_dataset(cases, patch=(40, 36, 24)), torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = [dataset[index] for index in range(12)]
        torch.set_num_threads(2)
        two = [dataset[index] for index in range(12)]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert same(one, two)


@pytest.mark.parametrize("start", [1, 2, 3])
def test_a_restart_goes_on_where_it_stopped(cases, start):
    dataset = make_dataset(cases)
    assert same(batches(make_dataset(cases), start_step=start), batches(dataset)[start:])


def test_ranks_share_the_steps_of_one(cases):
    dataset = make_dataset(cases)
    alone = batches(dataset, batch=4)
    shared = [batches(dataset, batch=2, rank=rank, world=2) for rank in (0, 1)]
    assert alone
    for step, whole in enumerate(alone):
        parts = torch.cat([shared[0][step]["image"], shared[1][step]["image"]])
        torch.testing.assert_close(parts, whole["image"], rtol=0, atol=0)


def test_seeds_and_indices_give_different_patches(cases):
    one, other = make_dataset(cases, seed=1), make_dataset(cases, seed=2)
    images = [one[0], one[1], other[0]]
    assert not any(torch.equal(images[i]["image"], images[j]["image"]) for i, j in ((0, 1), (0, 2), (1, 2)))


def test_takes_nothing_from_global_random_numbers(cases):
    dataset = make_dataset(cases)
    torch.manual_seed(5)
    np.random.seed(5)
    first = dataset[7]
    expected = torch.rand(3), np.random.rand(3)
    torch.manual_seed(5)
    np.random.seed(5)
    list(build_train_loader(dataset, batch=2, steps=2, start_step=0, workers=0, rank=0, world=1))
    torch.testing.assert_close(torch.rand(3), expected[0])
    np.testing.assert_array_equal(np.random.rand(3), expected[1])
    torch.manual_seed(99)
    assert same([first], [dataset[7]])


def test_step_sampler_from_a_pencil():
    # 2 ranks, 3 patches each: step 1 is patches 6…11
    assert list(StepSampler(3, steps=3, start_step=1, rank=0, world=2)) == [6, 7, 8, 12, 13, 14]
    assert list(StepSampler(3, steps=3, start_step=1, rank=1, world=2)) == [9, 10, 11, 15, 16, 17]
    # the trainer counts the steps of the whole run
    assert len(StepSampler(3, steps=3, start_step=1, rank=1, world=2)) == 9
    assert list(StepSampler(3, steps=3, start_step=5)) == []


def test_voi_crops_smaller_than_the_patch_repeat_their_border(cases):
    dataset = make_dataset(cases, augmentation="none", scope="voi", patch=(64, 64, 32))
    image = dataset[0]["image"][0]
    # the crop has 24 slices from slice 4 - shift on; outside of it slices repeat
    assert torch.equal(image[..., 0], image[..., 1]) or torch.equal(image[..., -1], image[..., -2])


def test_hidden_borders_are_those_of_crops_alone_and_the_same_each_time(cases):
    """In scope `scan` they say nothing; in scope `voi` they change the patches that reach beyond the crop."""
    for scope in ("scan", "voi"):
        shown, hidden, again = (
            make_dataset(cases, augmentation="none", scope=scope, patch=(48, 48, 30), hidden_borders=share)
            for share in (0.0, 1.0, 1.0)
        )
        equal = [torch.equal(shown[index]["image"], hidden[index]["image"]) for index in range(4)]
        assert equal == [scope == "scan"] * 4
        assert all(torch.equal(hidden[index]["image"], again[index]["image"]) for index in range(4))
