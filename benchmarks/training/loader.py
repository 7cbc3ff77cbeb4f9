"""Patches per second and memory of segpipe's training data path next to MONAI's and nnU-Net's, on the same cases.

    python benchmarks/training/loader.py --cases 100 --workers 2
    python benchmarks/training/loader.py --only augmentation=light augmentation=monai

Each loader runs in a process of its own after the others have ended; the files are read once before, so that all find
them in the system's cache. Memory is the peak of the whole process tree (pages that several processes share count
once) above what the same process holds after its imports. nnU-Net takes part where it is installed:
`pip install --no-deps nnunetv2 batchgeneratorsv2 batchgenerators acvl_utils fft_conv_pytorch threadpoolctl
dynamic_network_architectures`.
"""

import argparse
import contextlib
import gc
import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

WARM_UP = 8
SAMPLE_SECONDS = 0.1
_COUNTED = ("Pss_Anon:", "Pss_Shmem:")


def main() -> None:
    """Prepares the cases, measures every contender and prints the table."""
    options = _parse()
    if options.measure:
        print(json.dumps(_measure(options)))
        return
    import torch
    from loader_contenders import CONTENDERS, OTHERS, fill_formats

    torch.set_num_threads(1)
    names = [name for name in CONTENDERS if not options.only or name in options.only]
    run_data = _run_data(options)
    if set(names) & OTHERS.keys():
        fill_formats(run_data)
    rows = {name: _run(name) for name in names}
    _print_table(rows, options)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--cases", type=int, default=24)
    parser.add_argument("--scans", type=int, default=24, help="different phantoms; more cases repeat them")
    parser.add_argument("--patch", type=int, nargs=3, default=(96, 96, 96))
    parser.add_argument("--spacing", type=float, nargs=3, default=(1.25, 1.25, 1.25))
    parser.add_argument("--patches", type=int, default=240, help="measured patches, after a warm-up")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path.home() / ".cache" / "segpipe" / "benchmark")
    parser.add_argument("--only", nargs="*", help="names of contenders")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    return parser.parse_args()


def _run_data(options: argparse.Namespace) -> Any:
    from loader_contenders import RunData

    from segpipe.datasets.loading import load_case
    from segpipe.datasets.phantom import ensure_phantom
    from segpipe.preprocessing.cache.build import build_cache
    from segpipe.preprocessing.recipe import Recipe

    recipe = Recipe("benchmark", tuple(options.spacing), (-1000.0, 400.0), tuple(options.patch))
    manifest = ensure_phantom(options.folder, cases=min(options.scans, options.cases), seed=0)
    repeated = islice(cycle(manifest.entries), options.cases)
    entries = [replace(entry, id=f"{entry.id}_{number}") for number, entry in enumerate(repeated)]
    load = partial(load_case, labels=manifest.labels)
    cases = build_cache(entries, recipe, manifest.labels, folder=options.folder / "prepared", load=load)
    formats = options.folder / f"formats-{options.cases}-{recipe.digest}"
    return RunData(entries, cases, recipe, formats, options.workers)


def _run(name: str) -> dict[str, Any]:
    """Measures one contender in a fresh process."""
    command = [sys.executable, *sys.argv, "--measure", name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or ["no message"])[-1]}
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return measured


def _measure(options: argparse.Namespace) -> dict[str, Any]:
    import torch
    from loader_contenders import BATCH, CONTENDERS

    torch.set_num_threads(1)
    run_data = _run_data(options)
    compared_run = CONTENDERS[options.measure]
    _rehearse(compared_run, run_data)
    before = _tree_memory()
    batches = compared_run(run_data)
    for _ in range(WARM_UP):
        next(batches)
    with _MemoryWatch() as watch:
        started, cpu = time.perf_counter(), _tree_cpu_seconds()
        seen = sum(len(next(batches)) for _ in range(options.patches // BATCH))
        seconds, cpu = time.perf_counter() - started, _tree_cpu_seconds() - cpu
    batches.close()
    return {
        "patches_per_second": seen / seconds,
        "cpu_ms_per_patch": 1000 * cpu / seen,
        "memory_mb": (watch.peak - before) / 2**20,
    }


def _rehearse(compared_run: Any, run_data: Any) -> None:
    """Runs a contender on two cases without workers, so that its imports and first-time work are not measured."""
    few = replace(
        run_data, entries=run_data.entries[:2], cases=run_data.cases[:2], folder=run_data.folder / "few", workers=0
    )
    batches = compared_run(few)
    next(batches)
    batches.close()
    gc.collect()


class _MemoryWatch:
    """The largest memory of this process and all below it while the watch is open, in bytes."""

    def __enter__(self) -> "_MemoryWatch":
        self.peak = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while True:
            self.peak = max(self.peak, _tree_memory())
            if self._over.wait(SAMPLE_SECONDS):
                return


def _tree(pid: str = "self") -> list[Path]:
    folder = Path("/proc") / pid
    try:
        children = " ".join(file.read_text() for file in folder.glob("task/*/children")).split()
    except OSError:
        return []
    return [folder, *(item for child in children for item in _tree(child))]


def _tree_memory() -> int:
    """Anonymous and shared memory; a page that n processes share counts 1/n in each, mapped files do not count."""
    total = 0
    for folder in _tree():
        with contextlib.suppress(OSError):
            lines = (folder / "smaps_rollup").read_text().splitlines()
            total += sum(1024 * int(line.split()[1]) for line in lines if line.startswith(_COUNTED))
    return total


def _tree_cpu_seconds() -> float:
    ticks = 0
    for folder in _tree():
        with contextlib.suppress(OSError):
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _print_table(rows: dict[str, dict[str, Any]], options: argparse.Namespace) -> None:
    patch = "×".join(str(n) for n in options.patch)
    print(f"\n{options.cases} cases, patches of {patch}, {options.workers} workers, {options.patches} patches")
    print(f"{'loader':<26}{'patches/s':>11}{'CPU ms/patch':>14}{'memory MB':>11}{'speed':>8}{'CPU':>8}{'memory':>9}")
    first = next(iter(rows))
    own = rows[first]
    for name, row in rows.items():
        if "error" in row:
            print(f"{name:<26}  not measured: {row['error']}")
            continue
        text = f"{name:<26}{row['patches_per_second']:>11.1f}{row['cpu_ms_per_patch']:>14.1f}{row['memory_mb']:>11.0f}"
        if own and "error" not in own:
            text += f"{row['patches_per_second'] / own['patches_per_second']:>7.2f}×"
            text += f"{row['cpu_ms_per_patch'] / own['cpu_ms_per_patch']:>7.2f}×"
            text += f"{row['memory_mb'] / max(own['memory_mb'], 1.0):>8.1f}×"
        print(text)
    print(f"the last three columns are relative to {first}")


if __name__ == "__main__":
    main()
