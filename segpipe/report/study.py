"""Figures of a study: the curves of each candidate's rates, and how much it matters which rate is taken."""

import math
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING

from segpipe.report.style import CYCLE, FAINT, house_style, new_figure, quiet, titled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Curve = Mapping[int, float]


def rate_curves(
    curves: Mapping[str, Mapping[float, Curve]], chosen: Mapping[str, float], *, data: str | None = None
) -> "Figure":
    """Draws the pseudo-Dice of validation patches over the steps, a panel for each candidate, a line for each rate.

    Args:
        curves: By candidate and rate.
        chosen: The rate of each candidate that validation chose; its line is thick.
        data: The data set's name.
    """
    columns = min(4, len(curves))
    lines = math.ceil(len(curves) / columns)
    with house_style():
        figure = new_figure(3.2 * columns, 2.5 * lines + 0.4)
        figure.suptitle(titled("Learning rates", data), x=0.01, ha="left", fontweight="bold")
        axes = None
        for number, (name, of_rate) in enumerate(curves.items(), start=1):
            axes = figure.add_subplot(lines, columns, number, sharey=axes)
            for colour, (rate, curve) in zip(cycle(CYCLE), sorted(of_rate.items()), strict=False):
                width = 2.4 if rate == chosen.get(name) else 0.9
                axes.plot(list(curve), list(curve.values()), "o-", ms=3, color=colour, lw=width, label=f"{rate:g}")
            quiet(axes, title=name, x="step", y="pseudo-Dice")
            axes.legend(fontsize=6.5)
    return figure


def differences_to(
    reference: str, found: Mapping[str, tuple[float, tuple[float, float] | None]], *, data: str | None = None
) -> "Figure":
    """Draws how far each candidate lies from the reference, with its interval.

    Args:
        reference: Its name.
        found: By candidate, the best first: the difference of mean Dice, and its 95 % interval.
        data: The data set's name.
    """
    with house_style():
        figure = new_figure(6.4, 0.24 * len(found) + 1.2)
        axes = figure.add_subplot()
        for place, (difference, interval) in enumerate(found.values()):
            low, high = interval or (difference, difference)
            colour = FAINT if low <= 0 <= high else CYCLE[0]
            axes.plot([low, high], [place, place], color=colour, lw=1.6)
            axes.plot(difference, place, "o", color=colour, ms=4.5)
        axes.axvline(0.0, color=FAINT, lw=0.8)
        axes.set_yticks(range(len(found)), list(found))
        axes.invert_yaxis()
        quiet(axes, title=titled(f"Dice minus that of {reference}", data), x="difference and its 95 % interval", y="")
    return figure


def rate_sensitivity(figures: Mapping[str, Mapping[float, float]], *, data: str | None = None) -> "Figure":
    """Draws the last pseudo-Dice over the rate as a multiple of the one that validation found best.

    Args:
        figures: By candidate and multiple; rates that diverged or were given up are left out.
        data: The data set's name.
    """
    with house_style():
        figure = new_figure(6.4, 4.2)
        axes = figure.add_subplot()
        for number, (name, of_rate) in enumerate(figures.items()):
            points = sorted(of_rate.items())
            style = ("-", "--", ":")[number // len(CYCLE) % 3]
            axes.plot(*_columns(points), style, marker="o", ms=3, color=CYCLE[number % len(CYCLE)], label=name)
        axes.axvline(1.0, color=FAINT, lw=0.8)
        axes.set_xscale("log")
        quiet(axes, title=titled("Sensitivity to the rate", data), x="rate / best rate", y="pseudo-Dice at the end")
        figure.legend(loc="outside right upper", fontsize=7)
    return figure


def _columns(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [place for place, _ in points], [height for _, height in points]
