"""A convolution over a very small map runs in float32 under CPU autocast, and memory decides no gradient."""

import ctypes
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import nn
from torch.nn import functional

from segpipe.geometry import round_up
from segpipe.networks import build_network, network_divisor
from segpipe.networks.small_maps import SmallMapsInFloat32
from tests.support.processes import Process

CONF = Path(__file__).parents[2] / "conf" / "network"
RECIPE_PATCHES = [(64, 64, 64), (48, 48, 16)]  # ct_tumour's, 128×128×64, is larger along each axis
NO_SMALL_MAP = 8
WITHOUT_CONVOLUTION = {"depths": [1, 1, 1, 1], "window": [2, 2, 2]}  # Swin UNETR's attention: as little as there can be
HALF, FULL = torch.bfloat16, torch.float32


@pytest.mark.parametrize(
    ("layer", "size", "expected"),
    [
        (nn.Conv3d(2, 2, 3, padding=1), (2, 16, 16), FULL),  # 2 voxels < 3 of the kernel
        (nn.Conv3d(2, 2, 3, padding=1), (16, 16, 2), FULL),
        (nn.Conv3d(2, 2, 3, padding=1), (3, 3, 3), HALF),
        (nn.Conv3d(2, 2, (3, 3, 1), padding=(1, 1, 0)), (8, 8, 1), HALF),
        (nn.Conv3d(2, 2, 1), (1, 1, 1), HALF),
        (nn.Conv3d(2, 2, 3, padding=1, dilation=2), (4, 8, 8), FULL),  # spans 5 voxels
        (nn.Conv3d(2, 2, 3, padding=1, stride=2), (4, 8, 8), FULL),  # a second window starts at 2 and ends at 5
        (nn.Conv3d(2, 2, 3, padding=1, stride=2), (5, 8, 8), HALF),
        (nn.Conv3d(2, 2, 3, padding="same"), (2, 8, 8), FULL),
        (nn.Conv2d(2, 2, 3, padding=1), (2, 8), FULL),
        (nn.Conv1d(2, 2, 3, padding=1), (2,), FULL),
        (nn.ConvTranspose3d(2, 2, 2, 2), (1, 4, 4), FULL),  # the map is the output: 2 voxels < 2 + 2
        (nn.ConvTranspose3d(2, 2, 2, 2), (2, 4, 4), HALF),
        (nn.ConvTranspose3d(2, 2, 3, 2, padding=1, output_padding=1), (1, 4, 4), FULL),
        (nn.ConvTranspose3d(2, 2, 3, 2, padding=1, output_padding=1), (3, 4, 4), HALF),
    ],
)
def test_small_maps_alone_run_in_float32(layer, size, expected):
    for images in (torch.rand(3, 2, *size), torch.rand(2, *size)):
        with SmallMapsInFloat32(), torch.autocast("cpu", HALF):
            assert layer(images).dtype == expected
        assert layer(images).dtype == FULL
        with torch.autocast("cpu", HALF):
            assert layer(images).dtype == HALF


def test_the_gradient_of_a_small_map_is_that_of_float32():
    images, weight = torch.rand(1, 32, 2, 2, 2), torch.rand(32, 32, 3, 3, 3)
    plain, guarded = (weight.clone().requires_grad_() for _ in range(2))
    functional.conv3d(images, plain, padding=1).square().sum().backward()
    with SmallMapsInFloat32(), torch.autocast("cpu", HALF):
        out = functional.conv3d(input=images.to(HALF).float(), weight=guarded, padding=(1,))
    out.square().sum().backward()
    torch.testing.assert_close(guarded.grad, plain.grad, rtol=0.02, atol=0.02)


PERTURB, MMAP_THRESHOLD = -6, -3  # of glibc's mallopt


def gradients(spec, patch, fill: int) -> dict[str, torch.Tensor]:
    """Those of a network whose freed memory is filled with a byte, and whose new memory with its complement."""
    libc = ctypes.CDLL(None)
    torch.manual_seed(0)
    network = build_network(spec).train()
    images = torch.rand(1, 1, *patch)
    libc.mallopt(PERTURB, fill)
    with SmallMapsInFloat32():
        with torch.autocast("cpu", HALF):
            outputs = network(images)
        outputs = outputs if isinstance(outputs, list) else [outputs]
        torch.manual_seed(1)
        sum((output.float() * torch.randn(output.shape)).sum() for output in outputs).backward()
    libc.mallopt(PERTURB, 0)
    return {name: weight.grad for name, weight in network.named_parameters() if weight.grad is not None}


def write_differing(jobs, file: Path) -> None:
    """Job → the weights whose gradient depends on what freed memory holds; for a process of its own."""
    ctypes.CDLL(None).mallopt(MMAP_THRESHOLD, 2**31 - 1)
    torch.set_num_threads(2)
    torch.use_deterministic_algorithms(True)  # as every training on a CPU does
    torch.utils.deterministic.fill_uninitialized_memory = False
    found = {}
    for name, (spec, patch) in jobs.items():
        first, second = (gradients(spec, patch, fill) for fill in (1, 255))
        same = [key for key in first if torch.equal(first[key], second[key]) and first[key].isfinite().all()]
        found[name] = sorted(first.keys() - same) if first else ["nothing learns"]
    file.write_text(json.dumps(found))


def shipped(name: str) -> dict[str, Any]:
    """What `network=NAME` composes to."""
    own = yaml.safe_load((CONF / f"{name}.yaml").read_text())
    bases = [base for base in own.pop("defaults", []) if base != "_self_"]
    return {**(shipped(bases[0]) if bases else {}), **own}


def with_all_convolutions(spec) -> dict[str, Any]:
    """The same convolutions over the same maps, with less of what lies between them."""
    return spec | {name: value for name, value in WITHOUT_CONVOLUTION.items() if name in spec}


def patches(spec) -> list[tuple[int, int, int]]:
    """The smallest patch (one voxel at the bottom cannot be normalised) and the recipes' with small maps."""
    x, y, z = divisor = network_divisor(spec)
    padded = [round_up(patch, divisor) for patch in RECIPE_PATCHES]
    return [(x, y, 2 * z), *(patch for patch in padded if bottom(patch, divisor) < NO_SMALL_MAP)]


def bottom(patch, divisor) -> int:
    """The shortest edge of the lowest map, in voxels."""
    return min(edge // step for edge, step in zip(patch, divisor, strict=True))


def differing(jobs, folder: Path) -> dict[str, list[str]]:
    """What `write_differing` finds, without the jobs that are as they should be."""
    process = Process(write_differing, jobs, folder / "found.json", cwd=folder, log=folder / "log")
    assert process.wait() == 0, (folder / "log").read_text()
    found = json.loads((folder / "found.json").read_text())
    assert list(found) == list(jobs)
    return {name: weights for name, weights in found.items() if weights}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="freed memory is filled by glibc")
def test_memory_decides_no_gradient_of_a_shipped_network(tmp_path):
    networks = {file.stem: with_all_convolutions(shipped(file.stem)) for file in CONF.glob("*.yaml")}
    jobs = {f"{name} {patch}": [spec, patch] for name, spec in networks.items() for patch in patches(spec)}
    assert len(jobs) >= 2 * len(networks) > 0
    assert differing(jobs, tmp_path) == {}
