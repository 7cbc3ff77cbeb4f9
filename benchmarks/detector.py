"""What hard negatives and a second stage change on the phantom, on the budget of the main job or another.

    python benchmarks/detector.py OUT [--steps 500] [-- WORDS]

Two trainings, without and with hard negatives, and behind each a second stage: about six minutes of a core each, and
ten for the phantom itself. Runs that are finished in OUT are only read, so a table can be printed again. WORDS are
further overrides of all of them.
"""

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from segpipe.system.files.csv_table import read_csv

PHANTOM = ("+experiment=lung_nodule", "tracking=none")
TRAININGS = {"without hard negatives": ("sampling.hard_negatives=0",), "with hard negatives": ()}
SIZES = ("6-8 mm", "above 8 mm")


def main() -> None:
    """Makes what is missing and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("words", nargs="*")
    given = parser.parse_args()
    words = [*PHANTOM, f"trainer.max_steps={given.steps}", "evaluation.overlays=0", *given.words]
    print(row(["", "F1", "recall", "precision", "Dice of found", *SIZES, "CPM", *(f"at {rate}" for rate in RATES)]))
    for name, own in TRAININGS.items():
        trained = given.output / name.replace(" ", "_")
        stages = trained.with_name(f"{trained.name}_two_stages")
        train([*words, *own], trained)
        continue_with_two_stages([*words, *own], trained, stages)
        for folder, title in ((trained, name), (stages, f"{name}, two stages")):
            print(row([title, *figures(folder / "evaluation")]), flush=True)


RATES = ("0.125", "0.25", "0.5", "1", "2", "4", "8")


def train(words: Sequence[str], folder: Path) -> None:
    """Runs a training that is not finished."""
    if not (folder / "evaluation" / "summary.json").exists():
        command = [sys.executable, "-m", "segpipe", *words, f"hydra.run.dir={folder}", "resume=true"]
        subprocess.run(command, check=True)


def continue_with_two_stages(words: Sequence[str], trained: Path, folder: Path) -> None:
    """The second stage behind a training that is finished."""
    if not folder.exists():
        shutil.copytree(trained, folder, ignore=shutil.ignore_patterns("model", "evaluation", "report.html"))
    train([*words, "detector=two_stage"], folder)


def figures(evaluation: Path) -> list[str]:
    """The figures of a run, in the order of the table."""
    summary = json.loads((evaluation / "summary.json").read_text())
    lesions, froc = summary["lesions"], summary["detection"]["overlap"]
    sizes = summary["strata"]["diameter"]
    above = [sizes[name] for name in ("8-15 mm", "over 15 mm") if name in sizes]
    found, count = sum(one["found"] for one in above), sum(one["lesions"] for one in above)
    return [
        *(number(lesions[name]) for name in ("f1", "recall", "precision")),
        number(dice_of_found(evaluation / "lesions.csv")),
        number(sizes["6-8 mm"]["sensitivity"]),
        number(found / count),
        number(froc["cpm"]),
        *(number(froc["sensitivity_at_fp_per_scan"][rate]) for rate in RATES),
    ]


def dice_of_found(table: Path) -> float:
    """The mean Dice of lesions that were found, of which the table has the IoU."""
    _, rows = read_csv(table)
    overlaps = [float(one["overlap"]) for one in rows if one["kind"] == "reference" and one["matched"]]
    return sum(2 * iou / (1 + iou) for iou in overlaps) / max(len(overlaps), 1)


def number(value: float | None) -> str:
    """Three digits."""
    return "–" if value is None else f"{value:.3f}"


def row(cells: Sequence[str]) -> str:
    """A line of the table."""
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
