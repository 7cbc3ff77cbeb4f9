import logging

import pytest
import torch
from torch import nn

from segpipe.errors import ModelError
from segpipe.export.onnx import traced_size
from segpipe.export.parity import check_parity, cut, parity_patches
from tests.samples.small_models import example


class Logits(nn.Module):
    """Two channels whose difference is the image plus an offset."""

    def __init__(self, offset: float = 0.0) -> None:
        super().__init__()
        self.offset = offset

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.cat([torch.zeros_like(image), image + self.offset], dim=1)


def test_cut_takes_the_middle_and_repeats_the_border() -> None:
    volume = torch.arange(5.0).reshape(1, 1, 5, 1, 1)
    assert cut(volume, (3, 1, 1)).flatten().tolist() == [1, 2, 3]
    assert cut(volume, (8, 1, 1)).flatten().tolist() == [0, 0, 1, 2, 3, 4, 4, 4]
    assert cut(volume, (3, 2, 1)).shape == (1, 1, 3, 2, 1)


@pytest.mark.parametrize("window", [(32, 32, 16), (16, 24, 16), (8, 16, 8), (8, 8, 8)])
def test_two_shapes_are_compared_that_the_model_was_not_traced_with(window) -> None:
    patches = parity_patches(example(), window=window, divisor=(8, 8, 8))
    traced = (2, 1, *traced_size(window, (8, 8, 8)))
    shapes = [tuple(patch.shape) for patch in patches]
    assert len({*shapes, traced}) == 3
    assert shapes[0] == (3, 1, *window)
    assert all(side % 8 == 0 for side in shapes[1][2:])
    assert shapes[1][2:] != traced[2:]


def test_a_fixed_size_is_compared_at_other_batches() -> None:
    patches = parity_patches(example(), window=(32, 32, 32), divisor=None)
    assert [tuple(patch.shape) for patch in patches] == [(1, 1, 32, 32, 32), (3, 1, 32, 32, 32)]


def test_the_largest_difference_is_reported(caplog) -> None:
    # The slope of a sigmoid is 1/4 where it is steepest: an offset of 0.002 there makes 0.0005.
    patches = [torch.zeros(1, 1, 4, 4, 4), torch.full((1, 1, 4, 4, 8), 3.0)]
    with caplog.at_level(logging.INFO):
        parity = check_parity(Logits(), Logits(0.002), patches, name="ONNX Runtime")
    assert parity.largest == pytest.approx(0.0005, rel=1e-3)
    assert parity.shapes == ((1, 1, 4, 4, 4), (1, 1, 4, 4, 8))
    assert "ONNX Runtime and PyTorch differ by 5.0e-04 at most (1×1×4×4×4 and 1×1×4×4×8)" in caplog.text


@pytest.mark.parametrize("offset", [0.01, float("nan")])
def test_a_program_that_disagrees_is_refused(offset) -> None:
    with pytest.raises(ModelError, match="ONNX Runtime must compute what the network does") as caught:
        check_parity(Logits(), Logits(offset), [torch.zeros(1, 1, 4, 4, 4)], name="ONNX Runtime")
    assert "1×1×4×4×4" in str(caught.value.facts["largest difference of a probability"])
    assert caught.value.facts["allowed"] == "0.001"
