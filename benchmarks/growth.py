"""What ten times as many cases take: time per case at n and at 10 n, which is the same where growth is linear.

    python benchmarks/growth.py [--cases 1000] [--steps 300] [--only manifest quality ...]

A ratio near 1 is linear, one near 10 quadratic; MiB is the most that the process has held so far. The last lines say
how large the largest page is, which must not grow, and what memory a training holds after a tenth of the steps and all.
"""

import argparse
import io
import logging
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil  # type: ignore[import-untyped]

from segpipe.cli.train import registries
from segpipe.config.check import settings_of
from segpipe.config.compose import compose
from segpipe.datasets.ingested_cases import CaseJob, make_cases
from segpipe.datasets.manifest import Entry, Manifest, read_manifest, write_manifest
from segpipe.datasets.quality.dataset import compare_cases
from segpipe.datasets.quality.issues import CaseQuality, Issue, Quality
from segpipe.datasets.sources.case_names import Origin, digest_of, name_cases
from segpipe.datasets.splits import assign_roles
from segpipe.evaluation.results import CaseResult, PredictedLesion, ReferenceLesion
from segpipe.evaluation.summary import summarise
from segpipe.evaluation.tables import write_evaluation
from segpipe.geometry import Grid
from segpipe.inference.batch.memory import peak_memory
from segpipe.inference.batch.scans import Scan, number_clashes
from segpipe.io.images.volumes import write_volume
from segpipe.pipelines.reports.evaluation_report import write_evaluation_report
from segpipe.report.quality_page import write_quality
from segpipe.system.files.atomic_write import write_text
from segpipe.training.data.run_data import prepare_data
from segpipe.training.fitting import fit, recipe_of

FACTOR = 10
PICTURE = np.random.default_rng(0).bytes(9500)
Prepared = Callable[[], object]
WORDS = (
    "+experiment=lung_nodule", "data=nifti", "data.workers=0", "network=unet_small", "network.channels=[8,16]",
    "network.strides=[2]", "recipe.patch=[32,32,16]", "sampling=scan", "training.batch_size=2",
    "training.validation_patches=4", "training.log_every=10", "trainer=cpu", "trainer.workers=0",
    "trainer.progress=false",
)  # fmt: skip


def main() -> None:
    """Prints time per case, page sizes and memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=1000, help="and ten times as many")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--only", nargs="+", choices=tuple(WORK), help="these alone, and no training")
    arguments = parser.parse_args()
    few, many = arguments.cases, FACTOR * arguments.cases
    print(f"{'µs a case':12} {few:>10} {many:>10}   ratio    MiB")
    for name in arguments.only or WORK:
        figures = [_microseconds(WORK[name], count) for count in (few, many)]
        ratio, most = figures[1] / figures[0], peak_memory() / 2**20
        print(f"{name:12} {figures[0]:10.1f} {figures[1]:10.1f}   {ratio:5.2f} {most:6.0f}", flush=True)
    if arguments.only:
        return
    for name, write in PAGES.items():
        sizes = [_size_of_page(write, count) / 2**20 for count in (few, many)]
        print(f"{name:12} {sizes[0]:6.1f} MiB {sizes[1]:6.1f} MiB   {sizes[1] / sizes[0]:5.2f}", flush=True)
    print("memory after a tenth of the steps and all: {:.0f} and {:.0f} MiB".format(*memory(arguments.steps)))


def manifest(count: int, folder: Path) -> Prepared:
    """Writing and reading the list of cases."""
    return lambda: (write_manifest(_manifest(count, folder), folder), read_manifest(folder))


def split(count: int, folder: Path) -> Prepared:
    """Giving each case its role."""
    cases = _manifest(count, folder)
    return lambda: assign_roles(cases, fold=0)


def names(count: int, folder: Path) -> Prepared:
    """Giving cases and patients names."""
    origins = [Origin(digest_of(str(number)), f"person {number}", {}) for number in range(count)]
    return lambda: name_cases(origins, folder)


def scans(count: int, folder: Path) -> Prepared:
    """Numbering scans that all have one name, as those of a DICOM folder have."""
    one = Scan("study", lambda: None, lambda: 0, "")  # type: ignore[arg-type, return-value]
    same = [replace(one) for _ in range(count)]
    return lambda: number_clashes(same)


def duplicates(count: int, folder: Path) -> Prepared:
    """Comparing cases with each other, of which each third is the same scan."""
    cases = [replace(case, digest=case.digest if number % 3 else "same") for number, case in enumerate(_cases(count))]
    return lambda: compare_cases(cases, _manifest(count, folder).entries)


def writing(count: int, folder: Path) -> Prepared:
    """Writing files into one folder."""
    return lambda: [write_text(folder / f"{number}.txt", "", what="a file") for number in range(count)]


def resuming(count: int, folder: Path) -> Prepared:
    """Finding that all cases are made."""
    jobs = [CaseJob(f"case_{number}", "key", _make) for number in range(count)]
    with redirect_stderr(io.StringIO()):  # where the progress of making goes
        make_cases(jobs, folder, title="made", workers=0)
    return lambda: make_cases(jobs, folder, title="made", workers=0)


def summary(count: int, folder: Path) -> Prepared:
    """Figures with intervals, and the tables."""
    results = _results(count)
    return lambda: write_evaluation(folder, results, summarise(results))


def report(count: int, folder: Path) -> Prepared:
    """The page of an evaluation."""
    results = _results(count)
    figures = {**summarise(results[:50]), "data": "many"}
    return lambda: write_evaluation_report(folder, results, figures)


def quality(count: int, folder: Path) -> Prepared:
    """The page of a data set's quality."""
    found = Quality("many", tuple(_cases(count)))
    return lambda: write_quality(found, folder)


WORK = {one.__name__: one for one in (
    manifest, split, names, scans, duplicates, writing, resuming, summary, report, quality
)}  # fmt: skip
PAGES = {"report.html": report, "quality.html": quality}


def memory(steps: int) -> tuple[float, float]:
    """MiB that a training holds after a tenth of its steps and after all of them."""
    held: dict[int, float] = {}
    process = psutil.Process()

    def look(values: object, step: int) -> None:
        held[step] = process.memory_info().rss / 2**20

    with _folder() as folder:
        _write_scans(folder / "data")
        words = [*WORDS, f"data.root={folder / 'data'}", f"data.cache={folder / 'cache'}"]
        words += [f"trainer.max_steps={steps}", f"training.validate_every={max(1, steps // FACTOR)}"]
        settings = settings_of(compose(words, registries), registries())
        data = prepare_data(settings, recipe_of(settings))
        provenance = {"digest": data.recipe.digest, "network": settings.network}
        fit(settings, data.patches(settings), folder, provenance=provenance, log_metrics=look)
    return held[min(step for step in held if step >= steps // FACTOR)], held[max(held)]


def _microseconds(prepare: Callable[[int, Path], Prepared], count: int) -> float:
    with _folder() as folder:
        work = prepare(count, folder)
        start = time.perf_counter()
        work()
        return 1e6 * (time.perf_counter() - start) / count


def _size_of_page(prepare: Callable[[int, Path], Prepared], count: int) -> int:
    with _folder() as folder:
        prepare(count, folder)()
        return max(file.stat().st_size for file in folder.rglob("*.html"))


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def _manifest(count: int, folder: Path) -> Manifest:
    entries = [
        Entry(f"case_{number}", f"patient_{number // 2}", folder / f"{number}.nii.gz", folder / f"{number}.nii.gz",
              extra={"lesions": 1}) for number in range(count)
    ]  # fmt: skip
    return Manifest("many", "nifti", tuple(entries), {1: "nodule"})


def _cases(count: int) -> list[CaseQuality]:
    facts = {
        "shape": [512, 512, 300], "spacing_mm": [0.7, 0.7, 1.0], "extent_mm": [358.4, 358.4, 300.0],
        "orientation": "LPS", "lesions": 1, "lesion_mm3": 523.6,
    }  # fmt: skip
    issue = Issue("warning", "no mask", "there is no mask; the case cannot train or test", {})
    return [
        CaseQuality(f"case_{number}", () if number % 5 else (replace(issue, case=f"case_{number}"),), facts,
                    str(number), PICTURE) for number in range(count)
    ]  # fmt: skip


def _results(count: int) -> Sequence[CaseResult]:
    rng = np.random.default_rng(0)
    return [_result(number, *rng.uniform(0.1, 1.0, 3).tolist()) for number in range(count)]


def _result(number: int, dice: float, size: float, probability: float) -> CaseResult:
    volume = 1000 * size
    lesion = ReferenceLesion(1, volume, 20 * size, (0.0, 0.0, 0.0), 1, dice / (2 - dice), probability)
    found = PredictedLesion(1, volume * dice, 20 * size, (0.0, 0.0, 0.0), 1, dice / (2 - dice), probability, (1,))
    alarm = PredictedLesion(2, 100.0, 5.0, (50.0, 0.0, 0.0), None, 0.0, probability / 2)
    figures = {"dice": dice, "iou": dice / (2 - dice), "hd95": 3 * size, "nsd": dice}
    return CaseResult(
        f"case_{number}", f"patient_{number // 2}", "no", figures, volume, volume * dice, (lesion,), (found, alarm)
    )


def _make(folder: Path) -> Entry:
    return Entry("case", "patient", Path(__file__))


def _write_scans(root: Path) -> None:
    rng, grid = np.random.default_rng(0), Grid((40, 40, 24), np.diag([1.0, 1.0, 1.5, 1.0]))
    for number in range(10):
        mask = np.zeros(grid.shape, np.uint8)
        mask[14:24, 14:24, 8:14] = 1
        image = np.where(mask, 0, -850) + rng.normal(0, 30, grid.shape)
        write_volume(root / "images" / f"case_{number}.nii.gz", image.astype(np.int16), grid)
        write_volume(root / "masks" / f"case_{number}.nii.gz", mask, grid)


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR)
    main()
