"""What beginning with another model's weights brings with few labels: runs of a sweep set next to those from scratch.

python benchmarks/transfer.py RUNS… [--untuned EVALUATION] [--figure FILE.png] > transfer.csv

RUNS are folders that hold runs, e.g. of a sweep over `data.limit`, `init.from`, `finetune` and `seed`. Runs that differ
in their seed alone are averaged case by case; then each way to begin is compared with scratch at the same limit, on
the same held-out cases. Runs of other numbers of steps or another rate than most have rows of their own, which say so.

EVALUATION is what `evaluate` made of the model that runs began with, before it has learnt anything here; each row is
compared with it, too. docs/transfer.md has the sweep.
"""

import argparse
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np

from segpipe.errors import DatasetError
from segpipe.evaluation.comparison.paired_tests import difference_of_means
from segpipe.report.style import CYCLE, FAINT, house_style, new_figure, quiet, to_png
from segpipe.system.files.csv_table import csv_text, read_csv
from segpipe.system.files.plain_files import read_yaml

SCRATCH, UNTUNED = "scratch", "as it is"
COLUMNS = ("limit", "start", "seeds", "cases", "dice", "sd_over_seeds", "minus_scratch", "low", "high", "p")
LINES = ("-s", ":D", "-.^")  # one after the other when the colours begin again
BEYOND_UNTUNED = ("minus_untuned", "untuned_low", "untuned_high")


@dataclass(frozen=True)
class StudyRun:
    """A finished run.

    Args:
        limit: `data.limit`, `all` where there is none, 0 for a model that has learnt nothing here.
        start: What it began with, and how that was learnt.
        seed: Its seed.
        dice: Case → Dice.
        patients: Case → patient.
        settings: Number of steps and learning rate, as the table names them.
    """

    limit: str
    start: str
    seed: int
    dice: Mapping[str, float]
    patients: Mapping[str, str]
    settings: tuple[str, ...] = ()


def main() -> None:
    """Prints the table as CSV, and draws it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--untuned", type=Path, help="an evaluation of the model that runs began with")
    parser.add_argument("--figure", type=Path, help="draws the Dice of each seed over the limits")
    given = parser.parse_args()
    runs = read_runs(given.runs)
    untuned = read_untuned(given.untuned, runs) if given.untuned else None
    sys.stdout.write(csv_text(study_table(runs, untuned), COLUMNS))
    if given.figure:
        given.figure.write_bytes(draw_study(runs, untuned))


def read_runs(folders: Iterable[Path]) -> list[StudyRun]:
    """The evaluated runs in some folders.

    Raises:
        DatasetError: when there is none, or when no case was held out from all of them.
    """
    files = sorted({file for folder in folders for file in folder.rglob("evaluation/cases.csv")})
    runs = [_read(file) for file in files if (file.parents[1] / "config.yaml").is_file()]
    if not runs:
        raise DatasetError("there is no evaluated run", facts={"folders": ", ".join(map(str, folders))})
    if not _shared(runs):
        facts = {"folders": ", ".join(sorted({str(file.parents[1]) for file in files}))}
        raise DatasetError("no case was held out from all runs", facts=facts, hint="leave out runs on other data")
    usual = Counter(run.settings for run in runs).most_common(1)[0][0]
    return [replace(run, start=", ".join([run.start, *_other(run.settings, usual)])) for run in runs]


def read_untuned(folder: Path, runs: Sequence[StudyRun]) -> StudyRun:
    """An evaluation of a model as it is, of which the cases count that all runs have held out.

    Raises:
        DatasetError: when it lacks some of them.
    """
    rows = {row["case"]: row for row in read_csv(folder / "cases.csv")[1] if row["dice"]}
    held_out = _shared(runs)
    if missing := [case for case in held_out if case not in rows]:
        facts = {"evaluation": folder, "missing": f"{len(missing)} of {len(held_out)}"}
        raise DatasetError("the evaluation of the untuned model must have the held-out cases of the runs", facts=facts)
    dice = {case: float(rows[case]["dice"]) for case in held_out}
    return StudyRun("0", f"{folder.name}, {UNTUNED}", 0, dice, {case: rows[case]["patient"] for case in held_out})


def study_table(runs: Sequence[StudyRun], untuned: StudyRun | None = None) -> list[dict[str, Any]]:
    """One row for each limit and start: the mean Dice over cases and seeds, and what it has beyond scratch.

    Args:
        runs: The runs.
        untuned: The model that they began with, which has a row of its own, and with which each row is compared, too.
    """
    groups = _groups(runs)
    rows = [_row(limit, start, own, groups.get((limit, SCRATCH), [])) for (limit, start), own in groups.items()]
    if untuned is None:
        return rows
    beyond = [_beyond([untuned], own, BEYOND_UNTUNED) for own in groups.values()]
    rows = [{**row, **more} for row, more in zip(rows, beyond, strict=True)]
    return [_row(untuned.limit, untuned.start, [untuned], []), *rows]


def draw_study(runs: Sequence[StudyRun], untuned: StudyRun | None = None) -> bytes:
    """The Dice of each seed over the limits, a line through the means of each start, as PNG."""
    groups = _groups(runs)
    limits = list(dict.fromkeys(limit for limit, _ in groups))
    starts = list(dict.fromkeys(start for _, start in groups))
    with house_style():
        figure = new_figure(6.4, 3.8)
        axes = figure.add_subplot()
        for number, start in enumerate(starts):
            colour, aside = CYCLE[number % len(CYCLE)], 0.05 * (number - (len(starts) - 1) / 2)
            found = {limit: _by_seed(groups[limit, start]) for limit in limits if (limit, start) in groups}
            places = [limits.index(limit) + aside for limit in found]
            for place, figures in zip(places, found.values(), strict=True):
                axes.plot([place] * len(figures), figures, "o", ms=3.5, mfc="none", color=colour)
            line = LINES[number // len(CYCLE) % len(LINES)]
            axes.plot(places, [fmean(figures) for figures in found.values()], line, ms=5, color=colour, label=start)
        if untuned:
            axes.axhline(fmean(untuned.dice.values()), color=FAINT, ls="--", label=untuned.start)
        axes.set_xticks(range(len(limits)), [_named(limit) for limit in limits])
        quiet(axes, title="Dice of held-out nodules", x="cases that are trained on", y="Dice (circles: seeds)")
        figure.legend(loc="outside right upper")
        return to_png(figure)


def _groups(runs: Sequence[StudyRun]) -> dict[tuple[str, str], list[StudyRun]]:
    """Limit and start → the runs of all seeds, few cases first, and scratch before other starts."""
    groups: dict[tuple[str, str], list[StudyRun]] = defaultdict(list)
    for run in runs:
        groups[run.limit, run.start].append(run)
    order = sorted(groups, key=lambda key: (_size(key[0]), key[1] != SCRATCH, key[1]))
    return {key: groups[key] for key in order}


def _row(limit: str, start: str, own: Sequence[StudyRun], scratch: Sequence[StudyRun]) -> dict[str, Any]:
    by_seed = _by_seed(own)
    row: dict[str, Any] = {
        "limit": limit,
        "start": start,
        "seeds": len(own),
        "cases": len(_shared(own)),
        "dice": f"{fmean(by_seed):.4f}",
        "sd_over_seeds": f"{stdev(by_seed):.4f}" if len(by_seed) > 1 else None,
    }
    return row if start == SCRATCH else {**row, **_beyond(scratch, own, ("minus_scratch", "low", "high", "p"))}


def _beyond(others: Sequence[StudyRun], own: Sequence[StudyRun], names: Sequence[str]) -> dict[str, str]:
    """What runs have beyond others on the cases of all of them: difference, interval and p, under names for them."""
    cases = _shared([*own, *others]) if others else []
    if not cases:
        return {}
    patients = [own[0].patients[case] for case in cases]
    found = difference_of_means(_means(others, cases), _means(own, cases), patients)
    assert found is not None
    low, high = found.interval or (float("nan"), float("nan"))
    values = (found.difference, low, high, found.p)
    return {name: f"{value:.4f}" for name, value in zip(names, values, strict=False)}


def _by_seed(runs: Sequence[StudyRun]) -> list[float]:
    return [fmean(run.dice.values()) for run in runs]


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
        (f"{config['trainer']['max_steps']} steps", f"rate {config['optimizer']['lr']:g}"),
    )


def _other(settings: Sequence[str], usual: Sequence[str]) -> list[str]:
    """The settings of a run that are not those of most runs."""
    return [own for own, most in zip(settings, usual, strict=True) if own != most]


def _named(limit: str) -> str:
    """A limit as the axis of a figure has it: a share in per cent."""
    return limit if limit == "all" or float(limit) >= 1 else f"{100 * float(limit):g} %"


def _size(limit: str) -> float:
    """For the order of rows: numbers of cases, then shares, then all."""
    if limit == "all":
        return float("inf")
    return float(limit) if float(limit) >= 1 else 1e6 + float(limit)


if __name__ == "__main__":
    main()
