"""What beginning with another model's weights brings with few labels: runs of a sweep set next to those from scratch.

python benchmarks/transfer.py RUNS… > docs/studies/transfer.csv

RUNS are folders that hold runs, e.g. of a sweep over `data.limit`, `init.from`, `finetune` and `seed`. Runs that differ
in their seed alone are averaged case by case; then each way to begin is compared with scratch at the same limit, on
the same held-out cases. docs/transfer.md has the sweep.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np

from segpipe.errors import DatasetError
from segpipe.evaluation.comparison.paired_tests import difference_of_means
from segpipe.system.files.csv_table import csv_text, read_csv
from segpipe.system.files.plain_files import read_yaml

SCRATCH = "scratch"
COLUMNS = ("limit", "start", "seeds", "cases", "dice", "sd_over_seeds", "minus_scratch", "low", "high", "p")


@dataclass(frozen=True)
class StudyRun:
    """A finished run.

    Args:
        limit: `data.limit`, `all` where there is none.
        start: What it began with, and how that was learnt.
        seed: Its seed.
        dice: Case → Dice.
        patients: Case → patient.
    """

    limit: str
    start: str
    seed: int
    dice: Mapping[str, float]
    patients: Mapping[str, str]


def main() -> None:
    """Prints the table as CSV."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    sys.stdout.write(csv_text(study_table(read_runs(parser.parse_args().runs)), COLUMNS))


def read_runs(folders: Iterable[Path]) -> list[StudyRun]:
    """The evaluated runs in some folders.

    Raises:
        DatasetError: when there is none.
    """
    files = sorted({file for folder in folders for file in folder.rglob("evaluation/cases.csv")})
    runs = [_read(file) for file in files if (file.parents[1] / "config.yaml").is_file()]
    if not runs:
        raise DatasetError("there is no evaluated run", facts={"folders": ", ".join(map(str, folders))})
    return runs


def study_table(runs: Sequence[StudyRun]) -> list[dict[str, Any]]:
    """One row for each limit and start: the mean Dice over cases and seeds, and what it has beyond scratch."""
    groups: dict[tuple[str, str], list[StudyRun]] = defaultdict(list)
    for run in runs:
        groups[run.limit, run.start].append(run)
    order = sorted(groups, key=lambda key: (_size(key[0]), key[1] != SCRATCH, key[1]))
    return [_row(limit, start, groups[limit, start], groups.get((limit, SCRATCH), [])) for limit, start in order]


def _row(limit: str, start: str, own: Sequence[StudyRun], scratch: Sequence[StudyRun]) -> dict[str, Any]:
    by_seed = [fmean(run.dice.values()) for run in own]
    row: dict[str, Any] = {
        "limit": limit,
        "start": start,
        "seeds": len(own),
        "cases": len(_shared(own)),
        "dice": f"{fmean(by_seed):.4f}",
        "sd_over_seeds": f"{stdev(by_seed):.4f}" if len(by_seed) > 1 else None,
    }
    cases = _shared([*own, *scratch])
    if start == SCRATCH or not scratch or not cases:
        return row
    patients = [own[0].patients[case] for case in cases]
    found = difference_of_means(_means(scratch, cases), _means(own, cases), patients)
    assert found is not None
    low, high = found.interval or (float("nan"), float("nan"))
    return {
        **row,
        "minus_scratch": f"{found.difference:.4f}",
        "low": f"{low:.4f}",
        "high": f"{high:.4f}",
        "p": f"{found.p:.4f}",
    }


def _means(runs: Sequence[StudyRun], cases: Sequence[str]) -> np.ndarray:
    """The Dice of each case, averaged over seeds."""
    return np.array([[run.dice[case] for case in cases] for run in runs]).mean(axis=0)


def _shared(runs: Sequence[StudyRun]) -> list[str]:
    return sorted(set.intersection(*(set(run.dice) for run in runs)))


def _read(file: Path) -> StudyRun:
    config = read_yaml(file.parents[1] / "config.yaml")
    rows = [row for row in read_csv(file)[1] if row["dice"]]
    limit, init, tuning = config["data"].get("limit"), config.get("init") or {}, config.get("finetune") or {}
    begun = Path(str(init["from"])).name if init.get("from") else SCRATCH
    how = "" if tuning.get("name", "full") == "full" else f", {tuning['name']}"
    decay = "" if tuning.get("layer_decay", 1) == 1 else f", layer_decay {tuning['layer_decay']}"
    return StudyRun(
        "all" if limit is None else str(limit),
        begun + how + decay,
        int(config["seed"]),
        {row["case"]: float(row["dice"]) for row in rows},
        {row["case"]: row["patient"] for row in rows},
    )


def _size(limit: str) -> float:
    """For the order of rows: numbers of cases, then shares, then all."""
    if limit == "all":
        return float("inf")
    return float(limit) if float(limit) >= 1 else 1e6 + float(limit)


if __name__ == "__main__":
    main()
