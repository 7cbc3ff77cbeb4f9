"""Figures of a search: what trials came to in turn, which keys matter, and where in the space the good ones lie."""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np

from segpipe.report.style import BLUE, FAINT, INK, VERMILION, house_style, new_figure, quiet

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Trial = tuple[Mapping[str, Any], float]
"""What was chosen, by key, and what it came to."""


def draw_history(points: Mapping[int, tuple[float, str]], *, objective: str, largest: bool) -> "Figure":
    """Draws the figure of each trial and the best so far.

    Args:
        points: By number the figure and how the trial ended; only those that are `complete` can be the best.
        objective: The figure's name.
        largest: Whether the largest is the best.
    """
    done = {number: figure for number, (figure, state) in sorted(points.items()) if state == "complete"}
    others = {number: figure for number, (figure, state) in points.items() if state != "complete"}
    with house_style():
        figure = new_figure(6.4, 3.6)
        axes = figure.add_subplot()
        axes.plot(list(others), list(others.values()), "x", ms=5, color=FAINT, label="given up")
        axes.plot(list(done), list(done.values()), "o", ms=4, color=BLUE, label="trained")
        best = list(accumulate(done.values(), max if largest else min))
        axes.step(list(done), best, where="post", color=VERMILION, label="best so far")
        quiet(axes, title="Trials", x="trial", y=objective)
        axes.legend()
    return figure


def draw_importance(shares: Mapping[str, float], *, trials: int) -> "Figure":
    """Draws the share of each key in what tells good trials from the others.

    Args:
        shares: By key.
        trials: How many they were learnt from.
    """
    rows = sorted(shares.items(), key=lambda row: row[1])
    with house_style():
        figure = new_figure(6.4, 1.2 + 0.32 * len(rows))
        axes = figure.add_subplot()
        axes.barh([name for name, _ in rows], [share for _, share in rows], color=BLUE, height=0.6)
        quiet(axes, title=f"Importance (PED-ANOVA of {trials} trials)", x="share")
    return figure


def draw_parallel(trials: Sequence[Trial], *, objective: str, largest: bool) -> "Figure":
    """Draws each trial as a line through what it chose, the best ones dark, with the figure on the last axis.

    Args:
        trials: Those that came to their end.
        objective: The figure's name.
        largest: Whether the largest is the best.
    """
    names = [name for name in trials[0][0] if all(name in chosen for chosen, _ in trials)]
    figures = [figure for _, figure in trials]
    columns = [_places([chosen[name] for chosen, _ in trials]) for name in names] + [_places(figures)]
    ranks = np.argsort(np.argsort(figures if largest else [-figure for figure in figures])) / (len(trials) - 1)
    with house_style():
        figure = new_figure(1.6 * (len(columns) + 1), 4.2)
        axes = figure.add_subplot()
        for row in np.argsort(ranks):
            heights = [places[row] for places, _ in columns]
            axes.plot(range(len(columns)), heights, color=BLUE, alpha=0.12 + 0.88 * float(ranks[row]) ** 2, lw=1.2)
        for place, (_, ticks) in enumerate(columns):
            axes.axvline(place, color=FAINT, lw=0.8)
            for height, text in ticks:
                axes.annotate(text, (place, height), (3, 0), textcoords="offset points", fontsize=7, color=INK)
        axes.set_xticks(range(len(columns)), [*names, objective], rotation=20, ha="right", fontsize=8)
        axes.set_yticks([])
        axes.set_title(f"What {len(trials)} trials chose, the best ones dark")
    return figure


def _places(values: Sequence[Any]) -> tuple[list[float], list[tuple[float, str]]]:
    """Where values lie on an axis from 0 to 1, and its ticks; of numbers over a decade and more by logarithm.

    >>> _places([1e-4, 1e-2])
    ([0.0, 1.0], [(0.0, '0.0001'), (1.0, '0.01')])
    >>> _places(["a", "b", "a"])
    ([0.0, 1.0, 0.0], [(0.0, 'a'), (1.0, 'b')])
    """
    if any(isinstance(value, str | bool) or value is None for value in values):
        names = sorted({str(value) for value in values})
        of = {name: number / max(1, len(names) - 1) for number, name in enumerate(names)}
        return [of[str(value)] for value in values], [(height, name) for name, height in of.items()]
    low, high = min(values), max(values)
    wide = low > 0 and high >= 10 * low
    scaled = np.log(values) if wide else np.array(values, dtype=float)
    span = float(scaled.max() - scaled.min()) or 1.0
    places = [float(value) for value in (scaled - scaled.min()) / span]
    return places, [(0.0, f"{low:.3g}"), (1.0, f"{high:.3g}")] if high > low else [(0.0, f"{low:.3g}")]
