"""Seconds and memory of `segpipe evaluate` next to nnU-Net's evaluate_folder, on the same pairs of masks.

    python benchmarks/evaluate.py --pairs 100 --processes 2

Both evaluate folders of 512×512×134 masks with the same number of processes, one after the other, start-up included;
the files are read once before, so that both find them in the system's cache. nnU-Net gives Dice, IoU and voxel counts;
segpipe adds surface distances, lesions and their matching, strata, intervals and a report. nnU-Net takes part where
`nnUNetv2_evaluate_folder` is on the path or given by `--nnunet`. Memory is the peak of the process tree, where pages
that several processes share count once (Linux).
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np

SHAPE, SPACING_MM = (512, 512, 134), (0.7, 0.7, 2.5)
SAMPLE_SECONDS = 0.1


def main() -> None:
    """Makes the masks, measures both and prints the table."""
    options = _parse()
    make_pairs(options.folder, options.pairs)
    rows = {}
    for _ in range(options.repeats):
        for name, command in commands(options).items():
            rows.setdefault(name, []).append(measure(command))
    best = {name: min(seconds for seconds, _, _ in runs) for name, runs in rows.items()}
    size = "×".join(map(str, SHAPE))
    print(f"{options.pairs} pairs of {size}, {options.processes} processes, best of {options.repeats}")
    for name, runs in rows.items():
        memory, busy = max(peak for *_, peak in runs) / 2**20, min(cpu for _, cpu, _ in runs)
        pace = f"{best[name] / options.pairs * 1000:6.0f} ms/pair"
        print(f"{name:<10} {best[name]:7.1f} s  {pace}  {busy:7.1f} s of CPU  {memory:6.0f} MiB")
    if len(best) == 2:
        print(f"segpipe is {best['nnU-Net'] / best['segpipe']:.1f} times as fast")


def commands(options: argparse.Namespace) -> dict[str, list[str]]:
    """The command line of each contender."""
    folder, processes = options.folder, str(options.processes)
    segpipe = [sys.executable, "-m", "segpipe", "evaluate", "--predictions", folder / "predictions"]
    segpipe += ["--references", folder / "references", "--output", folder / "segpipe", "--processes", processes]
    tool = options.nnunet or shutil.which("nnUNetv2_evaluate_folder")
    if not tool:
        print("nnUNetv2_evaluate_folder is not installed: segpipe alone", file=sys.stderr)
        return {"segpipe": [str(word) for word in segpipe]}
    labels = {"background": 0, "nodule": 1}
    (folder / "dataset.json").write_text(json.dumps({"labels": labels, "file_ending": ".nii.gz"}))
    (folder / "plans.json").write_text(json.dumps({"label_manager": "LabelManager"}))
    nnunet = [tool, folder / "references", folder / "predictions", "-djfile", folder / "dataset.json"]
    nnunet += ["-pfile", folder / "plans.json", "-o", folder / "nnunet.json", "-np", processes]
    return {"segpipe": [str(word) for word in segpipe], "nnU-Net": [str(word) for word in nnunet]}


def measure(command: list[str]) -> tuple[float, float, int]:
    """Seconds, seconds of CPU (which other load on the machine changes little) and peak memory in bytes."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    start, before = time.perf_counter(), _cpu_seconds()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    peak = [0]
    watch = threading.Thread(target=_watch, args=(process, peak), daemon=True)
    watch.start()
    _, error = process.communicate()
    seconds = time.perf_counter() - start
    if process.returncode:
        sys.exit(f"{command[0]} failed:\n{error.decode()[-2000:]}")
    watch.join()
    return seconds, _cpu_seconds() - before, peak[0]


def make_pairs(folder: Path, count: int) -> None:
    """Writes masks of scattered balls of 4 to 40 mm; predictions are shifted, resized, missed and invented."""
    from segpipe.geometry import Grid
    from segpipe.io.images.volumes import write_volume

    grid = Grid(SHAPE, np.diag([-SPACING_MM[0], -SPACING_MM[1], SPACING_MM[2], 1.0]))
    for kind in ("references", "predictions"):
        for surplus in sorted((folder / kind).glob("*.nii.gz"))[count:]:
            surplus.unlink()
    for number in range(count):
        files = [folder / kind / f"case{number:04d}.nii.gz" for kind in ("references", "predictions")]
        if not all(file.exists() for file in files):
            for file, mask in zip(files, _masks(np.random.default_rng(number)), strict=True):
                write_volume(file, mask, grid)
        for file in files:
            file.read_bytes()


def _masks(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    reference, prediction = (np.zeros(SHAPE, dtype=np.uint8, order="F") for _ in range(2))
    for _ in range(rng.integers(1, 8)):
        centre, radius = rng.uniform((60, 60, 10), (450, 450, 124)), rng.uniform(2, 20)
        _paint(reference, centre, radius)
        if rng.random() < 0.8:
            _paint(prediction, centre + rng.normal(0, 1, 3), radius * rng.uniform(0.8, 1.2))
    for _ in range(rng.integers(0, 4)):
        _paint(prediction, rng.uniform((60, 60, 10), (450, 450, 124)), rng.uniform(2, 6))
    return reference, prediction


def _paint(mask: np.ndarray, centre: np.ndarray, radius_mm: float) -> None:
    reach = radius_mm / np.array(SPACING_MM)
    low, high = np.maximum(centre - reach - 1, 0).astype(int), np.minimum(centre + reach + 2, SHAPE).astype(int)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    places = np.stack(np.meshgrid(*(np.arange(a, b) for a, b in zip(low, high, strict=True)), indexing="ij"), axis=-1)
    mask[box][np.linalg.norm((places - centre) * SPACING_MM, axis=-1) <= radius_mm] = 1


def _cpu_seconds() -> float:
    """Of all processes that this one has waited for, and theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _watch(process: subprocess.Popen[bytes], peak: list[int]) -> None:
    import psutil

    while process.poll() is None:
        try:
            tree = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
            peak[0] = max(peak[0], sum(member.memory_full_info().pss for member in tree))
        except psutil.Error:
            pass
        time.sleep(SAMPLE_SECONDS)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=1, help="the contenders take turns")
    parser.add_argument("--nnunet", help="path of nnUNetv2_evaluate_folder, e.g. in another environment")
    parser.add_argument("--folder", type=Path, default=Path.home() / ".cache" / "segpipe" / "benchmark_evaluate")
    return parser.parse_args()


if __name__ == "__main__":
    main()
