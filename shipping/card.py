"""Figures of a cross-validation by kind of nodule, as the tables of a model card.

    python shipping/card.py runs/…/fold_*/ --table /data/lidc_nodules/nodules.csv --clicks clicks.csv

Every nodule counts once, as the network segmented it that had not seen its patient (RUN/evaluation/cases.csv). The
table has the columns nodule, diameter_mm and the readers' ratings; `clicks.csv` is what `benchmarks/clicks.py --csv`
writes. Intervals are bootstrap intervals of the mean over patients.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean, median

from segpipe.evaluation.bootstrap import interval_of_mean
from segpipe.evaluation.strata import DIAMETERS_MM, diameter_stratum, rating_stratum
from segpipe.system.files.csv_table import read_csv

Row = Mapping[str, str]
MARGINS = ("poorly defined", "medium", "sharp")
RULE = "| --- | ---: | ---: | ---: | --- | ---: | ---: |"
CLICK_HEAD = "| from the centre | clicks | nodules | mean Dice | 95 % interval | of those in the nodule |"


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folders, one for each fold")
    parser.add_argument("--table", required=True, type=Path, metavar="CSV", help="diameters and ratings of the nodules")
    parser.add_argument("--clicks", type=Path, metavar="CSV", help="of the same models")
    given = parser.parse_args()
    print("\n".join(out_of_fold(given.runs, given.table, given.clicks)))


def out_of_fold(runs: Sequence[Path], table: Path, clicks: Path | None = None) -> list[str]:
    """The lines of the card about nodules of patients whom no network had seen.

    Args:
        runs: The run folders, one for each fold.
        table: Diameters and ratings of the nodules.
        clicks: What `benchmarks/clicks.py` wrote about the same models, if it is to be shown.
    """
    ratings = {row["nodule"]: row for row in read_csv(table)[1]}
    rows = [
        {**ratings[row["case"]], **row, "fold": f"fold {number}"}
        for number, run in enumerate(runs)
        for row in read_csv(run / "evaluation" / "cases.csv")[1]
    ]
    kinds: dict[str, Callable[[Row], str | None]] = {
        "all": lambda row: "every nodule once",
        "diameter": lambda row: diameter_stratum(float(row["diameter_mm"])),
        "texture": lambda row: rating_stratum("texture", float(row["texture"])),
        "margin": lambda row: _margin(float(row["margin"])),
        "fold": lambda row: row["fold"],
    }
    if len(runs) == 1:
        del kinds["fold"]
    lines = [line for title, kind in kinds.items() for line in _table(title, rows, kind)]
    return [*lines, *(_clicks(read_csv(clicks)[1]) if clicks else [])]


def _table(title: str, rows: Sequence[Row], kind: Callable[[Row], str | None]) -> Iterator[str]:
    yield from [f"| {title} | nodules | patients | mean Dice | 95 % interval | median | volume error, median |", RULE]
    for name in sorted({found for row in rows if (found := kind(row))}, key=_rank):
        chosen = [row for row in rows if kind(row) == name]
        dice, patients = [float(row["dice"]) for row in chosen], [row["patient"] for row in chosen]
        error = median(abs(float(row["volume_error_pct"])) for row in chosen)
        figures = f"{mean(dice):.3f} | {_interval(dice, patients)} | {median(dice):.3f} | {error:.0f} %"
        yield f"| {name} | {len(chosen)} | {len(set(patients))} | {figures} |"
    yield ""


def _clicks(rows: Sequence[Row]) -> Iterator[str]:
    yield from [CLICK_HEAD, "| --- | ---: | ---: | ---: | --- | --- |"]
    for distance in sorted({float(row["distance_mm"]) for row in rows}):
        chosen = [row for row in rows if float(row["distance_mm"]) == distance]
        dice, patients = [float(row["dice"]) for row in chosen], [row["patient"] for row in chosen]
        hits = [float(row["dice"]) for row in chosen if row["inside"] == "True"]
        inside = f"{mean(hits):.3f} ({len(hits)} clicks)" if hits else "none"
        counts = f"{len(dice)} | {len({row['lesion'] for row in chosen})}"
        yield f"| {distance:g} mm | {counts} | {mean(dice):.3f} | {_interval(dice, patients)} | {inside} |"
    yield ""


def _margin(rating: float) -> str:
    """What readers' ratings from 1, poorly defined, to 5, sharp, come to."""
    return MARGINS[int(rating >= 2.5) + int(rating >= 3.5)]


def _interval(values: Sequence[float], patients: Sequence[str]) -> str:
    interval = interval_of_mean(values, patients)
    return f"{interval[0]:.3f} … {interval[1]:.3f}" if interval else "one patient"


def _rank(name: str) -> tuple[int, str]:
    """Diameters from small to large, textures from ground glass to solid, and the rest by name."""
    order = [*(stratum for *_, stratum in DIAMETERS_MM), "ground glass", "part-solid", "solid", *MARGINS]
    return (order.index(name) if name in order else len(order), name)


if __name__ == "__main__":
    main()
