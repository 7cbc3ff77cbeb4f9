"""How far a figure of one fold or one seed can be trusted: the mean Dice of each fold by each seed, and their spread.

python benchmarks/folds_and_seeds.py RUNS… > folds_and_seeds.csv

RUNS are folders that hold cross-validations which differ in their seed alone, e.g. of
`data.fold=all seed=0,1,2 --multirun`; the split into folds is the same for all seeds (`data.split_seed`). A row for
each seed: the mean over the held-out cases of each fold, the standard deviation of these, and the mean over all cases,
each predicted by the network that had not seen its patient. Below, the mean over seeds, with the 95 % interval over
patients of the cases' means, and the standard deviation over seeds.
"""

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from segpipe.errors import DatasetError
from segpipe.evaluation.bootstrap import interval_of_mean
from segpipe.system.files.csv_table import csv_text, read_csv
from segpipe.system.files.plain_files import read_yaml

FOLDER = "fold_*/evaluation/cases.csv"


@dataclass(frozen=True)
class FoldRun:
    """The held-out cases of one fold by the network of one seed: case → Dice, and case → patient."""

    seed: int
    fold: int
    dice: Mapping[str, float]
    patients: Mapping[str, str]


def main() -> None:
    """Prints the table as CSV."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    rows = fold_table(read_folds(parser.parse_args().runs))
    sys.stdout.write(csv_text(rows, [*rows[0], "low", "high"]))


def read_folds(folders: Iterable[Path]) -> list[FoldRun]:
    """The evaluated folds of all cross-validations in some folders, in the order of their seeds and folds.

    Raises:
        DatasetError: when there is none, or when the seeds do not have the same folds of the same cases.
    """
    files = sorted({file for folder in folders for file in folder.rglob(FOLDER)})
    if not files:
        raise DatasetError("there is no evaluated fold", facts={"folders": ", ".join(map(str, folders))})
    found = sorted(map(_read, files), key=lambda one: (one.seed, one.fold))
    cases = {seed: [(one.fold, sorted(one.dice)) for one in found if one.seed == seed] for seed in _seeds(found)}
    first, *others = cases.values()
    if any(other != first for other in others) or len(dict(first)) < len(first):
        facts = {"folds": "; ".join(f"seed {seed}: {[fold for fold, _ in own]}" for seed, own in cases.items())}
        raise DatasetError("every seed must have the same folds, each once and of the same cases", facts=facts)
    return found


def fold_table(found: Sequence[FoldRun]) -> list[dict[str, str]]:
    """One row for each seed, then the mean over seeds with its interval, and the standard deviation over seeds."""
    figures = [_figures([one for one in found if one.seed == seed]) for seed in _seeds(found)]
    columns = {name: [own[name] for own in figures] for name in figures[0]}
    low, high = _interval(found)
    mean = {name: fmean(values) for name, values in columns.items()} | {"low": low, "high": high}
    spread = {name: stdev(values) if len(values) > 1 else float("nan") for name, values in columns.items()}
    rows = zip([*map(str, _seeds(found)), "mean", "sd"], [*figures, mean, spread], strict=True)
    return [{"seed": name} | {column: f"{value:.4f}" for column, value in row.items()} for name, row in rows]


def _figures(folds: Sequence[FoldRun]) -> dict[str, float]:
    means = {f"fold_{one.fold}": fmean(one.dice.values()) for one in folds}
    spread = stdev(means.values()) if len(means) > 1 else float("nan")
    return {**means, "sd_over_folds": spread, "all": fmean(value for one in folds for value in one.dice.values())}


def _interval(found: Sequence[FoldRun]) -> tuple[float, float]:
    """Of the cases' means over seeds."""
    patients = {case: patient for one in found for case, patient in one.patients.items()}
    means = [fmean(one.dice[case] for one in found if case in one.dice) for case in patients]
    return interval_of_mean(means, list(patients.values())) or (float("nan"), float("nan"))


def _seeds(found: Sequence[FoldRun]) -> list[int]:
    return list(dict.fromkeys(one.seed for one in found))


def _read(file: Path) -> FoldRun:
    config: dict[str, Any] = read_yaml(file.parents[1] / "config.yaml")
    rows = [row for row in read_csv(file)[1] if row["dice"]]
    return FoldRun(
        int(config["seed"]),
        int(config["data"]["fold"]),
        {row["case"]: float(row["dice"]) for row in rows},
        {row["case"]: row["patient"] for row in rows},
    )


if __name__ == "__main__":
    main()
