"""The masks of shifted windows are MONAI's, for every window and shift."""

import pytest
import torch
from monai.networks.nets import swin_unetr

from segpipe.networks.window_masks import quick_window_masks, window_mask


@pytest.mark.parametrize(
    ("dims", "window", "shift"),
    [
        ((8, 8, 8), (4, 4, 4), (2, 2, 2)),
        ((14, 7, 21), (7, 7, 7), (3, 0, 3)),
        ((8, 4, 4), (4, 4, 4), (2, 0, 0)),
        ((4, 4, 4), (2, 2, 2), (0, 0, 0)),
        ((12, 8), (4, 4), (2, 1)),
    ],
)
def test_a_mask_is_that_of_monai(dims, window, shift):
    expected = swin_unetr.compute_mask(dims, window, shift, "cpu")
    assert torch.equal(window_mask(dims, window, shift, "cpu"), expected)
    assert (expected != 0).any() == any(shift)


def test_monai_has_its_own_again_also_after_an_export_that_fails():
    own = swin_unetr.compute_mask
    with pytest.raises(ZeroDivisionError):
        fail_meanwhile()
    assert swin_unetr.compute_mask is own


def fail_meanwhile() -> float:
    with quick_window_masks():
        assert swin_unetr.compute_mask is window_mask
        return 1 / 0
