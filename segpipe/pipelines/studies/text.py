"""The text of a study in Markdown: ranking, rates and variants."""

from collections.abc import Mapping, Sequence

from segpipe.pipelines.studies.ranking import Rank
from segpipe.pipelines.studies.rows import Row
from segpipe.pipelines.studies.settings import Study
from segpipe.pipelines.studies.table import Line
from segpipe.report.style import titled


def study_text(
    ranks: Sequence[Rank], lines: Sequence[Line], chosen: Mapping[str, Row], study: Study, *, data: str | None
) -> str:
    """The text of `study.md`.

    Args:
        ranks: The best first.
        lines: Those of the table.
        chosen: The row of the best rate of each candidate.
        study: What was compared.
        data: The data set's name.
    """
    parts = [
        titled(f"# {len(study.candidates)} candidates", data),
        _rule(study),
        _ranking(ranks, lines, chosen),
        _rates(lines, chosen, study) if study.rates > 1 else "",
        _variants(lines, chosen),
        _how(lines),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _rule(study: Study) -> str:
    pruning = study.pruning
    given_up = (
        f" A rate is given up after {pruning.after:.0%} of the steps when it lies {pruning.margin:g} or more below "
        "the best rate of the same candidate at the same step."
        if pruning
        else ""
    )
    seeds = ("seed " if len(study.seeds) == 1 else "seeds ") + ", ".join(map(str, study.seeds))
    beside = f" Up to {study.parallel} rows were trained side by side, which times per step show."
    beside = beside if study.parallel > 1 else ""
    if study.rates == 1:
        return f"Each candidate is trained with {seeds}, at the rate of its optimizer. Nothing is chosen.{beside}"
    return (
        f"Rates tried for each candidate, over the same number of steps, with seed {study.seeds[0]}: {study.rates}. "
        "The one with the highest pseudo-Dice of validation patches at the end is taken, and trained with "
        f"{seeds}. Held-out cases choose nothing.{given_up}{beside}"
    )


def _ranking(ranks: Sequence[Rank], lines: Sequence[Line], chosen: Mapping[str, Row]) -> str:
    first = next((one.name for one in ranks if one.behind is None), "")
    against = "behind the best" if ranks and first == ranks[0].name else f"minus {first}"
    head = ["candidate", "Dice", "95 %", "± seeds", against, "95 %", "p", "rate", "ms per step", "bytes per weight"]
    costs = {name: next(line for line in lines if line["row"] == row.name) for name, row in chosen.items()}
    rows = [
        [
            one.name, _number(one.dice), _ends(one.interval), _number(one.spread),
            _number(one.behind.difference if one.behind else None), _ends(one.behind.interval if one.behind else None),
            _number(one.p), f"{chosen[one.name].lr:g}", _number(costs[one.name]["ms_per_step"], 0),
            _number(costs[one.name]["state_bytes_per_weight"], 1),
        ]
        for one in ranks
    ]  # fmt: skip
    text = (
        "Mean Dice of the held-out cases in each scan's own space, of each case the mean over seeds. Intervals are "
        "95 % bootstrap intervals over patients; differences are paired by case, their p-values corrected by Holm."
    )
    return f"## Ranking\n\n{text}\n\n{_table(head, rows)}"


def _rates(lines: Sequence[Line], chosen: Mapping[str, Row], study: Study) -> str:
    fates = {line["row"]: _fate(line) for line in lines}
    rows = []
    for name in study.candidates:
        best, rates = chosen.get(name), sorted(study.rates_of(name))
        searched = {rate: fates.get(Row(name, rate, study.seeds[0]).name, "failed") for rate in rates}
        edge = " (at the edge)" if best and best.lr in (rates[0], rates[-1]) else ""
        shown = " · ".join(f"{rate:g}: {fate}" for rate, fate in searched.items())
        rows.append([name, shown, f"{best.lr:g}{edge}" if best else "none"])
    text = "Pseudo-Dice of validation patches at the end. At the edge of the grid a better rate may lie outside."
    return f"## Learning rates\n\n{text}\n\n{_table(['candidate', 'rate: pseudo-Dice', 'chosen'], rows)}"


def _variants(lines: Sequence[Line], chosen: Mapping[str, Row]) -> str:
    rows = []
    for line in (line for line in lines if line["variant"]):
        best = chosen[line["candidate"]]
        base = next(other for other in lines if other["row"] == best.name)
        rows.append(
            [f"{line['candidate']}, {line['variant']}", _fate(line), _number(line["dice"]), _number(base["dice"])]
        )
    head = ["variant", "pseudo-Dice", "Dice", "Dice without the change, same seed"]
    return f"## Sensitivity\n\nOne seed; see the spread of seeds above.\n\n{_table(head, rows)}" if rows else ""


def _how(lines: Sequence[Line]) -> str:
    return (
        f"`study.csv` has all {len(lines)} rows, each with the command that trains it alone; "
        "their run folders lie next to it."
    )


def _fate(line: Line) -> str:
    return _number(line["pseudo_dice"]) if line["state"] == "trained" else str(line["state"])


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]
    return "\n".join(lines)


def _number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:z.{digits}f}"  # z: no minus in front of nothing


def _ends(interval: Sequence[float] | None) -> str:
    return f"{interval[0]:.3f} to {interval[1]:.3f}" if interval else "–"
