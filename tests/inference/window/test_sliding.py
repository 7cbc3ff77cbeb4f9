"""Windows cover a box, weigh their middle most and leave out what holds nothing."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segpipe.inference.window.sliding import GAUSSIAN_FLOOR, Sliding, gaussian, predict_flipped, slide, starts


def slices_of(volume_xyz):
    return lambda number: volume_xyz[:, :, number]


def slid(volume_xyz, sliding, run, wanted=None):
    planes = slide(slices_of(volume_xyz), tuple(volume_xyz.shape), sliding, run, wanted=wanted)
    return torch.stack([torch.stack(of_classes) for of_classes in planes], dim=-1).squeeze(0)


@given(st.integers(1, 200), st.integers(1, 64), st.floats(0, 0.95))
def test_starts_cover_everything_with_at_least_the_overlap(length, window, overlap):
    length = max(length, window)
    found = starts((length, 1, 1), Sliding((window, 1, 1), overlap, 1), axis=0)
    assert found[0] == 0
    assert found[-1] == length - window
    steps = np.diff(found)
    assert (steps >= 1).all()
    assert (steps <= max(1, int(window * (1 - overlap)))).all()


def test_starts_are_spread_evenly():
    assert starts((10, 1, 1), Sliding((4, 1, 1), 0.0, 1), axis=0) == [0, 3, 6]


def test_the_gaussian_is_symmetric_and_never_vanishes():
    weight = gaussian((8, 6, 4))
    assert weight.shape == (8, 6, 4)
    torch.testing.assert_close(weight, weight.flip([0, 1, 2]))
    assert weight.min() == pytest.approx(GAUSSIAN_FLOOR)
    assert weight.max() == weight[3, 2, 1]


@settings(max_examples=25)
@given(
    st.tuples(*[st.integers(5, 18)] * 3),
    st.tuples(*[st.integers(2, 5)] * 3),
    st.floats(0, 0.8),
    st.integers(1, 5),
)
def test_a_pointwise_network_gives_what_it_gives_at_once(size, window, overlap, batch):
    volume = torch.from_numpy(np.random.default_rng(0).random(size, dtype=np.float32))
    found = slid(volume, Sliding(window, overlap, batch), lambda patches: patches**2)
    torch.testing.assert_close(found, volume**2, atol=1e-5, rtol=1e-5)


def test_overlapping_windows_are_averaged_by_their_weights():
    """Window 0 covers 0…3 and says 0.2, window 1 covers 2…5 and says 0.8; voxel 2 is in both."""
    values = iter([0.2, 0.8])
    volume = torch.rand(6, 4, 4)
    found = slid(volume, Sliding((4, 4, 4), 0.5, 1), lambda patches: torch.full_like(patches, next(values)))
    weight = gaussian((4, 4, 4))[:, 1, 1]
    expected = (0.2 * weight[2] + 0.8 * weight[0]) / (weight[2] + weight[0])
    assert found[0, 1, 1] == pytest.approx(0.2)
    assert found[5, 1, 1] == pytest.approx(0.8)
    assert found[2, 1, 1] == pytest.approx(float(expected), rel=1e-5)


def test_layers_overlap_along_the_third_axis_too():
    values = iter([0.2, 0.8])
    found = slid(torch.rand(4, 4, 6), Sliding((4, 4, 4), 0.5, 1), lambda p: torch.full_like(p, next(values)))
    weight = gaussian((4, 4, 4))[1, 1, :]
    assert found[1, 1, 2] == pytest.approx(
        float((0.2 * weight[2] + 0.8 * weight[0]) / (weight[2] + weight[0])), rel=1e-5
    )


def test_each_slice_is_read_once_and_in_order():
    read = []

    def reader(number):
        read.append(number)
        return torch.rand(6, 6)

    list(slide(reader, (6, 6, 15), Sliding((4, 4, 4), 0.5, 1), lambda patches: patches))
    assert read == list(range(15))


def test_slices_leave_as_soon_as_no_window_can_change_them():
    """The buffer holds one layer: when the first slice leaves, the slices of the second layer are not read yet."""
    read = []
    flow = slide(
        lambda number: read.append(number) or torch.rand(4, 4), (4, 4, 100), Sliding((4, 4, 8), 0.5, 1), lambda p: p
    )
    next(flow)
    assert max(read) == 7


def test_windows_without_contrast_need_no_pass():
    volume = torch.zeros(12, 4, 4)
    volume[0, 0, 0] = 1.0
    passes = []
    found = slid(volume, Sliding((4, 4, 4), 0.0, 1), lambda patches: passes.append(1) or torch.ones_like(patches))
    assert len(passes) == 1
    assert found[:4].eq(1).all()
    assert found[4:].eq(0).all()


def test_unwanted_windows_need_no_pass_and_change_nothing_that_wanted_ones_cover_fully():
    volume = torch.rand(20, 8, 8)
    sliding = Sliding((8, 8, 8), 0.5, 2)
    everything = slid(volume, sliding, lambda patches: patches**2)
    some = slid(volume, sliding, lambda patches: patches**2, wanted=lambda corner: corner[0] < 8)
    torch.testing.assert_close(some[:8], everything[:8])
    assert some[16:].eq(0).all()


def test_batches_are_no_larger_than_allowed():
    sizes = []
    slid(torch.rand(20, 20, 4), Sliding((4, 4, 4), 0.0, 3), lambda p: sizes.append(len(p)) or p)
    assert sizes == [3] * 8 + [1]


def test_flips_are_undone_before_the_mean():
    """A network that shifts by one voxel: mirrored and back, it shifts the other way."""
    patch = torch.zeros(1, 1, 5, 1, 1)
    patch[0, 0, 2] = 1.0
    found = predict_flipped(lambda patches: patches.roll(1, 2), patch, (0,))
    assert found.flatten().tolist() == [0.0, 0.5, 0.0, 0.5, 0.0]


def test_each_class_is_averaged_by_itself():
    volume = torch.rand(9, 8, 10)
    sliding = Sliding((4, 4, 4), 0.5, 3, classes=3)
    found = slid(volume, sliding, lambda patches: torch.cat([patches, patches**2, 1 - patches], dim=1))
    torch.testing.assert_close(found, torch.stack([volume, volume**2, 1 - volume]), atol=1e-5, rtol=1e-5)
