"""Amounts of memory, and which scans fit."""

import pytest
import torch

from segpipe.errors import ConfigError, ImageError
from segpipe.inference.memory import BYTES_PER_VOXEL, MemoryBound, machine_memory, parse_bytes, peak_memory
from segpipe.inference.scans import Scan


def scan(voxels):
    return Scan("s", lambda: None, lambda: voxels, "")


@pytest.mark.parametrize(
    ("text", "count"), [("4GB", 4 * 2**30), ("4 GiB", 4 * 2**30), ("1.5g", 3 * 2**29), ("800MB", 800 * 2**20), ("7", 7)]
)
def test_amounts(text, count):
    assert parse_bytes(text) == count


@pytest.mark.parametrize("text", ["", "four GB", "-4GB", "4PB", "4GBB"])
def test_what_is_no_amount_is_told(text):
    with pytest.raises(ConfigError, match="memory must be an amount like 4GB"):
        parse_bytes(text)


def test_scans_fit_together_while_their_sum_does():
    bound = MemoryBound(100 + 3 * BYTES_PER_VOXEL, base=100)
    assert bound.together([scan(1), scan(2)])
    assert not bound.together([scan(2), scan(2)])


def test_a_scan_that_does_not_fit_alone_is_refused():
    bound = MemoryBound(2**30 + 3 * BYTES_PER_VOXEL, base=2**30)
    bound.check(scan(3))
    with pytest.raises(ImageError, match="needs more memory than allowed") as caught:
        bound.check(scan(3), further=2**30)
    assert caught.value.facts == {"voxels": 3, "needs": "2.0 GB", "allowed": "1.0 GB"}


def test_uncertainty_takes_a_byte_more_per_voxel():
    bound = MemoryBound(26, base=0, per_voxel=BYTES_PER_VOXEL + 1)
    assert bound.together([scan(2)])
    assert not bound.together([scan(1), scan(2)])


def test_a_bound_knows_what_a_forward_pass_takes():
    class Model:
        class recipe:  # noqa: N801
            patch = (30, 30, 30)

        divisor = (16, 16, 16)

    shapes = []
    bound = MemoryBound.of(lambda patches: shapes.append(patches.shape), Model, 8 * 2**30)
    assert shapes == [torch.Size([1, 1, 32, 32, 32])]
    assert 0 < bound.base <= peak_memory()
    assert MemoryBound.of(lambda patches: pytest.fail("no pass is needed"), Model, None).limit < machine_memory()
