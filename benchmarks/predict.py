"""Seconds and memory of `segpipe predict` next to a plain MONAI pipeline and nnU-Net's predictor, on the same scan.

    python benchmarks/predict.py --spacing 1.25 1.25 2.0 --patch 96 96 48
    python benchmarks/predict.py --large

All run the same network with the same weights over windows that overlap by half and are weighted by a Gaussian, each in
a process of its own, one after the other, start-up included; the scan is read once before, so that all find it in the
system's cache. Memory is the peak of the process. The scan is LUNG1-001 of `$SEGPIPE_REALDATA` or else a phantom; the
network is fitted for a moment to its tumour, so that masks are not empty and can be compared (Dice with MONAI's mask).
So fitted, it answers to where a window lies, and MONAI counts windows from the corner while segpipe and nnU-Net spread
them evenly: with MONAI's windows in segpipe the masks of LUNG1-001 agreed at Dice 0.996, else at about 0.7.
nnU-Net takes part where it is installed, with test-time mirroring off: `pip install --no-deps nnunetv2
batchgeneratorsv2 batchgenerators acvl_utils fft_conv_pytorch threadpoolctl dynamic_network_architectures`.

`--large` predicts a phantom of 512×512×1000 voxels with a small network within 4 GB, and without that bound, and
compares the masks voxel by voxel.
"""

import argparse
import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

SEGPIPE = {
    "segpipe": [],
    "segpipe, everywhere": ["--search", "everywhere"],
    "segpipe, float32": ["--exact"],
    "segpipe, openvino": ["--backend", "openvino"],
}
LARGE, BOUNDS = (512, 512, 1000), ("4GB", "16GB")
PEERS = {"MONAI": "monai", "nnU-Net": "nnunetv2"}
CONTENDERS = Path(__file__).with_name("predict_contenders.py")


@dataclass(frozen=True)
class Run:
    """What one contender took, the mask that it made and what it said of its stages."""

    seconds: float
    busy: float
    peak_bytes: int
    mask: Path
    stages: str = ""


def main() -> None:
    """Makes model and scan, runs every contender and prints the table."""
    options = _parse()
    folder = options.folder or Path(tempfile.mkdtemp())
    if options.large:
        run_large(folder)
        return
    scan, model = folder / "in" / "scan.nii.gz", folder / "model"
    if not model.exists():
        _apart(_prepare, scan, model, spacing_mm=options.spacing, patch=options.patch, channels=options.channels)
    scan.read_bytes()
    runs = {
        name: measure(command, mask)
        for name, (command, mask) in commands(scan, model, folder).items()
        if not options.only or name in options.only
    }
    _print_table(runs, scan)


def run_large(folder: Path) -> None:
    """Predicts a scan of 262 million voxels within two bounds; says peak memory and whether the masks are one."""
    from segpipe.io.images.volumes import read_volume

    scan, model = folder / "large" / "scan.mha", folder / "small_model"
    if not model.exists():
        _apart(_prepare_large, scan, model, shape=LARGE)
    files = []
    for bound in BOUNDS:
        out = Path(tempfile.mkdtemp(prefix=f"{bound}-", dir=folder))
        words = ["--model", str(model), "--input", str(scan), "--output", str(out), "--memory", bound]
        run = measure([sys.executable, "-m", "segpipe", "predict", *words], out / "scan.nii.gz")
        files.append(run.mask)
        print(f"--memory {bound:<5} {run.seconds:7.1f} s, at most {run.peak_bytes / 2**30:.2f} GiB", flush=True)
    masks = [read_volume(file).array for file in files]
    same = "the same" if np.array_equal(*masks) else "DIFFERENT"
    print(f"{'×'.join(map(str, LARGE))} voxels, {np.count_nonzero(masks[0])} foreground; the masks are {same}")


def commands(scan: Path, model: Path, folder: Path) -> dict[str, tuple[list[str], Path]]:
    """The command line of each contender and the mask that it will write."""
    python, found = sys.executable, {}
    base = ["-m", "segpipe", "predict", "--model", str(model), "--input", str(scan), "--output-format", "nifti"]
    for number, (name, more) in enumerate(SEGPIPE.items()):
        if "openvino" in more and not importlib.util.find_spec("openvino"):
            continue
        out = Path(tempfile.mkdtemp(prefix=f"segpipe{number}-", dir=folder))
        found[name] = [python, *base, "--output", str(out), *more], out / scan.name
    for name, package in PEERS.items():
        if importlib.util.find_spec(package):
            out = Path(tempfile.mkdtemp(prefix=f"{package}-", dir=folder))
            found[name] = [python, str(CONTENDERS), package, str(model), str(scan), str(out)], out / scan.name
    return found


def measure(command: list[str], mask: Path) -> Run:
    """Runs a command; says its wall time, its CPU time and its peak memory."""
    begin = time.perf_counter()
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begin
        output.seek(0)
        said = output.read().decode(errors="replace")
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}\nended with {process.returncode}:\n{said[-2000:]}")
    unit = 1 if sys.platform == "darwin" else 1024
    stages = next((line for line in said.splitlines() if line.startswith("time: ")), "")
    return Run(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit, mask, stages)


def _print_table(runs: dict[str, Run], scan: Path) -> None:
    from segpipe.io.images.volumes import read_shape, read_volume

    reference = next((runs[name] for name in ("MONAI", "segpipe, float32") if name in runs), None)
    wanted = read_volume(reference.mask).array > 0 if reference else None
    print(f"{'×'.join(map(str, read_shape(scan)))} voxels, {os.cpu_count()} cores")
    for name, run in runs.items():
        figures = f"{run.seconds:8.1f} s  {run.busy:8.1f} s of CPU  {run.peak_bytes / 2**20:7.0f} MiB"
        print(f"{name:<20} {figures}{_agreement(read_volume(run.mask).array > 0, wanted)}")
        if run.stages:
            print(f"{'':<20} {run.stages}")
    for peer in PEERS:
        if peer in runs and "segpipe" in runs:
            own, other = runs["segpipe"], runs[peer]
            speed = f"{other.seconds / own.seconds:.1f} times as fast ({other.busy / own.busy:.1f} by CPU time)"
            print(f"next to {peer}: {speed}, {own.peak_bytes / other.peak_bytes:.2f} of the memory")


def _agreement(mask: np.ndarray, wanted: np.ndarray | None) -> str:
    if wanted is None:
        return ""
    dice = 2 * np.count_nonzero(mask & wanted) / (np.count_nonzero(mask) + np.count_nonzero(wanted))
    return f"  Dice {dice:.4f}"


def _apart(work: Callable[..., None], *given: Any, **named: Any) -> None:
    """Calls a function in a process of its own: what it takes of memory would else count in the peak of each child."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        pool.submit(work, *given, **named).result()


def _prepare(*given: Any, **named: Any) -> None:
    from predict_contenders import prepare

    prepare(*given, **named)


def _prepare_large(*given: Any, **named: Any) -> None:
    from predict_contenders import prepare_large

    prepare_large(*given, **named)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--spacing", type=float, nargs=3, default=[1.25, 1.25, 1.25], help="of the recipe, in mm")
    parser.add_argument("--patch", type=int, nargs=3, default=[96, 96, 96], help="voxels of a window")
    parser.add_argument("--channels", type=int, nargs="+", default=[32, 64, 128, 256], help="of the U-Net")
    parser.add_argument("--large", action="store_true", help="512×512×1000 voxels within 4 GB, and nothing else")
    parser.add_argument("--only", nargs="*", help="contenders to run")
    parser.add_argument("--folder", type=Path, help="where model, scan and masks are kept for another call")
    return parser.parse_args()


if __name__ == "__main__":
    main()
