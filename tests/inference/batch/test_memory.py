"""Amounts of memory, and which scans fit."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
import torch

from segpipe.errors import ConfigError, ImageError
from segpipe.geometry import Grid
from segpipe.inference.batch.memory import (
    BYTES_PER_VOXEL,
    RESERVE,
    MemoryBound,
    parse_bytes,
    peak_memory,
)
from segpipe.inference.batch.scans import Scan
from segpipe.io.images.volumes import read_volume, write_volume
from segpipe.labels import LabelMap
from segpipe.system.machine.memory import available_memory
from tests.samples.synthetic_chest import chest, chest_series
from tests.samples.synthetic_dicom import save
from tests.support.processes import segpipe


def scan(voxels):
    return Scan("s", lambda: None, lambda: voxels, "")


@pytest.mark.parametrize(
    ("text", "count"), [("4GB", 4 * 2**30), ("4 GiB", 4 * 2**30), ("1.5g", 3 * 2**29), ("800MB", 800 * 2**20), ("7", 7)]
)
def test_amounts(text, count):
    assert parse_bytes(text) == count


@pytest.mark.parametrize("text", ["", "four GB", "-4GB", "4PB", "4GBB"])
def test_what_is_no_amount_is_reported(text):
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
    assert caught.value.facts == {"voxels": 3, "needs": "2.00 GB", "allowed": "1.00 GB"}


def test_uncertainty_takes_a_byte_more_per_voxel():
    bound = MemoryBound(26, base=0, per_voxel=BYTES_PER_VOXEL + 1)
    assert bound.together([scan(2)])
    assert not bound.together([scan(1), scan(2)])


def test_a_bound_knows_what_a_forward_pass_takes():
    class Model:
        class recipe:  # noqa: N801
            patch = (30, 30, 30)
            label_map = LabelMap()

        divisor = (16, 16, 16)

    shapes = []
    bound = MemoryBound.of(lambda patches: shapes.append(patches.shape), Model, 8 * 2**30)
    assert shapes == [torch.Size([1, 1, 32, 32, 32])]
    assert RESERVE < bound.base <= peak_memory() + RESERVE
    assert MemoryBound.of(lambda patches: pytest.fail("no pass is needed"), Model, None).limit < available_memory()


WATCHER = """
import os, subprocess, sys
process = subprocess.Popen(sys.argv[2:])
_, status, usage = os.wait4(process.pid, 0)
open(sys.argv[1], "w").write(str(usage.ru_maxrss))
sys.exit(os.waitstatus_to_exitcode(status))
"""


def predict(model, scans, output, bound, *more):
    """Runs `predict` in a process of its own; returns its exit code, what it printed and the most memory it took.

    A small process watches it, because Linux counts what the parent held at the start among a process's own.
    """
    words = ["--model", str(model), "--input", str(scans), "--output", str(output), "--memory", bound, *more]
    peak = output.parent / "peak"
    watched = [sys.executable, "-c", WATCHER, str(peak), sys.executable, "-m", "segpipe", "predict", *words]
    done = subprocess.run(watched, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return done.returncode, done.stdout, int(peak.read_text()) * (1 if sys.platform == "darwin" else 1024)


def least_bound(model, scans, output, *more):
    """What `predict` says that it needs, rounded up."""
    code, reported, _ = predict(model, scans, output, "1MB", *more)
    assert code == 2
    needs = max(float(found) for found in re.findall(r"needs +([\d.]+) GB", reported))
    return f"{needs + 0.01:.2f}GB"


@pytest.mark.slow
def test_dicom_formats_stay_within_the_bound(chest_model, tmp_path):
    """A small series: next to it the libraries that write results are large."""
    series = save(chest_series(1), tmp_path / "series")
    formats = ["--output-format", "dicom-sr", "dicom-labelmap", "html"]
    bound = least_bound(chest_model, series, tmp_path / "none", *formats)
    code, reported, peak = predict(chest_model, series, tmp_path / "out", bound, *formats)
    assert code == 0, reported
    assert peak <= parse_bytes(bound)
    assert (tmp_path / "out" / "series.seg.dcm").exists()


@pytest.mark.slow
def test_the_process_stays_within_the_bound_and_the_bound_changes_nothing(chest_model, tmp_path):
    """Two scans of 8 million voxels, of which a random network calls much foreground."""
    for seed in (0, 1):
        image = chest(seed).repeat(5, axis=0).repeat(5, axis=1).repeat(5, axis=2)
        write_volume(tmp_path / "scans" / f"{seed}.mha", image, Grid(image.shape, np.diag([-1.0, -1.0, 2.0, 1.0])))
    bound = least_bound(chest_model, tmp_path / "scans", tmp_path / "none")
    code, reported, little = predict(chest_model, tmp_path / "scans", tmp_path / "little", bound)
    assert code == 0, reported
    assert little <= parse_bytes(bound)
    words = ["--model", chest_model, "--input", tmp_path / "scans", "--output", tmp_path / "much"]
    segpipe("predict", *words, "--memory", "64GB", cwd=tmp_path)
    for name in ("0", "1"):
        masks = [read_volume(tmp_path / folder / f"{name}.nii.gz").array for folder in ("little", "much")]
        assert masks[0].any()
        assert np.array_equal(*masks)
        findings = [json.loads((tmp_path / folder / f"{name}.json").read_text()) for folder in ("little", "much")]
        assert findings[0] == findings[1]
