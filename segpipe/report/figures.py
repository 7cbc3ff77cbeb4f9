"""The figures of a run: learning curves, lesion size against overlap, agreement of volumes, FROC."""

import math
from collections.abc import Mapping, Sequence
from statistics import mean, median, stdev
from typing import TYPE_CHECKING, Any

from segpipe.report.overlays import overlay
from segpipe.report.style import BLUE, CYCLE, FAINT, VERMILION, house_style, new_figure, quiet, titled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "bland_altman",
    "curve_panels",
    "dice_by_diameter",
    "froc_by_diameter",
    "froc_curve",
    "learning_curves",
    "overlay",
]
Row = Mapping[str, Any]
CURVE = "curve"
MOST_POINTS = 2000
"""Of more points a figure holds a picture, since a page with a shape for each of them does not load."""
MOST_PLACES = 500
FROC_RATES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
_PANELS = ("loss", "pseudo_dice", "lr", "samples_per_second", "data_wait_fraction")
_LABELS = {
    "loss": "Loss",
    "pseudo_dice": "Pseudo-Dice of patches",
    "lr": "Learning rate",
    "samples_per_second": "Patches per second",
    "data_wait_fraction": "Share of time waiting for data",
    "grad_norm": "Gradient norm",
    "update_ratio": "Norm of the update / of the weights",
    "clipped_fraction": "Share of clipped steps",
    "skipped_steps": "Steps skipped",
}


def learning_curves(history: Sequence[Row], *, data: str | None = None) -> "Figure":
    """Draws the metrics of a run over its steps; `train/loss` and `val/loss` share a panel.

    Args:
        history: Rows with `step` and one or more metrics, named `part/what`.
        data: The data set's name.
    """
    panels = _panels(history)
    columns = min(3, max(1, len(panels)))
    rows = max(1, math.ceil(len(panels) / columns))
    with house_style():
        figure = new_figure(4.0 * columns, 2.7 * rows)
        figure.suptitle(titled("Learning curves", data), x=0.01, ha="left", fontweight="bold")
        for number, (what, names) in enumerate(panels.items(), start=1):
            _draw_panel(figure.add_subplot(rows, columns, number), history, what, names)
    return figure


def curve_panels(history: Sequence[Row]) -> "dict[str, Figure]":
    """The same, each panel a figure of its own, so that a page can lay them out for any width.

    Args:
        history: Rows with `step` and one or more metrics, named `part/what`.
    """
    found = {}
    for what, names in _panels(history).items():
        with house_style():
            found[f"{CURVE}_{what}"] = figure = new_figure(4.4, 2.9)
            _draw_panel(figure.add_subplot(), history, what, names)
    return found


def dice_by_diameter(lesions: Sequence[Row], *, data: str | None = None) -> "Figure":
    """Draws the Dice of each reference lesion against its longest diameter; missed lesions are crosses at 0.

    Args:
        lesions: Rows of `lesions.csv`.
        data: The data set's name.
    """
    real = [row for row in lesions if row["kind"] == "reference" and row["overlap"] not in (None, "")]
    found = [(row["diameter_mm"], _dice(row["overlap"])) for row in real if _is_number(row["matched"])]
    missed = [row["diameter_mm"] for row in real if not _is_number(row["matched"])]
    with house_style():
        figure = new_figure(5.2, 3.6)
        axes = figure.add_subplot()
        if found:
            diameters, dice = zip(*found, strict=True)
            label, many = f"found ({len(found)})", len(found) > MOST_POINTS
            axes.scatter(diameters, dice, s=22, color=BLUE, alpha=0.75, lw=0, label=label, rasterized=many)
        label, many = f"missed ({len(missed)})", len(missed) > MOST_POINTS
        axes.scatter(missed, [0.0] * len(missed), marker="x", s=30, color=VERMILION, label=label, rasterized=many)
        _draw_running_median(axes, found)
        quiet(axes, title=titled("Lesion Dice by size", data), x="longest diameter, mm", y="Dice")
        axes.set_ylim(-0.05, 1.02)
        figure.legend(loc="outside lower center", ncols=3)
    return figure


def bland_altman(cases: Sequence[Row], *, data: str | None = None) -> "Figure":
    """Draws the difference of predicted and reference volume, in percent of their mean, against that mean.

    Volumes of nodules span orders of magnitude, hence the percentages.

    Args:
        cases: Rows of `cases.csv`; cases that are empty in both masks are left out.
        data: The data set's name.

    Source:
        Bland and Altman, Statistical Methods in Medical Research 8 (1999), section 3.
    """
    pairs = [(float(row["reference_mm3"]), float(row["predicted_mm3"])) for row in cases]
    means = [(a + b) / 2 for a, b in pairs if a + b > 0]
    apart = [200 * (b - a) / (a + b) for a, b in pairs if a + b > 0]
    with house_style():
        figure = new_figure(5.2, 3.6)
        axes = figure.add_subplot()
        axes.scatter(means, apart, s=22, color=BLUE, alpha=0.75, lw=0, rasterized=len(means) > MOST_POINTS)
        axes.axhline(0, color=FAINT, lw=0.8)
        if means:
            _scale_volumes(axes)
            _draw_limits(axes, apart)
            figure.legend(loc="outside lower center", ncols=2)
        quiet(axes, title=titled("Agreement of volumes", data), x="mean volume, mm³", y="predicted − reference, %")
    return figure


def _scale_volumes(axes: "Axes") -> None:
    """A logarithmic scale with two labels in each power of ten: enough in small ranges, few enough in large ones."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def froc_curve(points: Sequence[Row], detection: Row | None = None, *, data: str | None = None) -> "Figure":
    """Draws sensitivity over false positives per scan for each rule of matching.

    Points are joined by straight lines, the first one with (0, 0), and beyond the last point a curve is flat, as in
    LUNA16's evaluation.

    Args:
        points: Rows of `froc.csv`: `rule`, `fp_per_scan` and `sensitivity`, most confident first.
        detection: The part `detection` of `summary.json`: intervals at the seven rates, and CPM.
        data: The data set's name.
    """
    rules = list(dict.fromkeys(str(row["rule"]) for row in points))
    with house_style():
        figure = new_figure(5.2, 3.6)
        axes = figure.add_subplot()
        for number, (rule, colour) in enumerate(zip(rules, CYCLE, strict=False)):
            members = [(float(row["fp_per_scan"]), float(row["sensitivity"])) for row in points if row["rule"] == rule]
            rates, found = zip((0.0, 0.0), *members, (max(FROC_RATES) * 2, members[-1][1]), strict=True)
            known = (detection or {}).get(rule) or {}
            # curves and intervals that coincide can still be distinguished
            style = "-" if number == 0 else (0, (4, 2.5))
            axes.plot(rates, found, color=colour, lw=1.8, ls=style, label=f"by {rule}{_cpm(known)}")
            _draw_intervals(axes, known, colour, aside=0.95 if number == 0 else 1.05)
        _froc_axes(axes, titled("FROC", data))
        if rules:
            figure.legend(loc="outside lower center", ncols=2)
    return figure


def froc_by_diameter(detection: Row, *, data: str | None = None) -> "Figure":
    """Draws the sensitivity at the seven rates of false positives for each diameter of lesions, small to large.

    Args:
        detection: The part `detection` of `summary.json`, of which the first rule of matching is drawn.
        data: The data set's name.
    """
    rule, froc = next(iter(detection.items()))
    with house_style():
        figure = new_figure(5.2, 3.6)
        axes = figure.add_subplot()
        for (diameter, row), colour in zip(froc["by_diameter"].items(), CYCLE, strict=False):
            values = list(row["sensitivity_at_fp_per_scan"].values())
            label = f"{diameter} ({row['lesions']}){_cpm(row)}"
            axes.plot(FROC_RATES, values, "-o", color=colour, lw=1.8, ms=4, label=label)
        _froc_axes(axes, titled(f"Sensitivity by diameter, by {rule}", data))
        figure.legend(loc="outside lower center", ncols=2)
    return figure


def _panels(history: Sequence[Row]) -> dict[str, list[str]]:
    names = sorted({name for row in history for name in row if name != "step" and not name.startswith("system/")})
    whats = list(dict.fromkeys([*_PANELS, *(name.rpartition("/")[2] for name in names)]))
    groups = {what: [name for name in names if name.rpartition("/")[2] == what] for what in whats}
    return {what: members for what, members in groups.items() if members}


def _draw_panel(axes: "Axes", history: Sequence[Row], what: str, names: Sequence[str]) -> None:
    _draw_curves(axes, history, names, smooth=what != "lr")
    quiet(axes, title=_LABELS.get(what, what), x="step")
    if what == "lr":
        axes.yaxis.set_major_formatter("{x:g}")


def _draw_curves(axes: "Axes", history: Sequence[Row], names: Sequence[str], *, smooth: bool) -> None:
    for name, colour in zip(names, CYCLE, strict=False):
        points = [(row["step"], row[name]) for row in history if _is_number(row.get(name))]
        if not points:
            continue
        steps, values = zip(*points, strict=True)
        many = smooth and len(points) > 60
        axes.plot(
            steps, values, color=colour, lw=0.8 if many else 1.4, alpha=0.35 if many else 1, label="" if many else name
        )
        if many:
            places, medians = running_median(values, half=len(values) // 40)
            at = [steps[place] for place in places]
            axes.plot(at, medians, color=colour, lw=1.8, label=f"{name}, smoothed")
        elif len(points) < 12:
            axes.plot(steps, values, "o", color=colour, ms=3.5)
    if len(names) > 1:
        axes.legend()


def running_median(values: Sequence[float], *, half: int) -> tuple[list[int], list[float]]:
    """Places among the values, and the median of each value there and its `half` neighbours: spikes do not bend it.

    Of many values it is taken at some hundred places, which are all that a figure can show.

    >>> running_median([1.0, 9.0, 2.0, 3.0], half=1)
    ([0, 1, 2, 3], [5.0, 2.0, 3.0, 2.5])
    """
    step = max(1, len(values) // MOST_PLACES)
    places = [*range(0, len(values) - 1, step), len(values) - 1]
    return places, [median(values[max(0, at - half) : at + half + 1]) for at in places]


def _draw_running_median(axes: "Axes", points: Sequence[tuple[float, float]]) -> None:
    if len(points) < 20:
        return
    diameters, dice = zip(*sorted(points), strict=True)
    places, medians = running_median(dice, half=len(dice) // 12)
    axes.plot([diameters[place] for place in places], medians, color=BLUE, lw=1.8, label="running median")


def _draw_limits(axes: "Axes", apart: Sequence[float]) -> None:
    centre = mean(apart)
    axes.axhline(centre, color=VERMILION, lw=1.4, label=f"bias {_signed(centre)} %")
    if len(apart) > 1:
        reach = 1.96 * stdev(apart)
        limits = f"95 % limits of agreement {_signed(centre - reach)} … {_signed(centre + reach)} %"
        for edge in (centre - reach, centre + reach):
            axes.axhline(edge, color=VERMILION, lw=1.0, ls="--")
        axes.plot([], [], color=VERMILION, lw=1.0, ls="--", label=limits)


def _froc_axes(axes: "Axes", title: str) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xlim(FROC_RATES[0] / 1.2, FROC_RATES[-1] * 1.2)
    axes.set_xticks(FROC_RATES, ["1/8", "1/4", "1/2", "1", "2", "4", "8"])
    axes.set_ylim(0, 1.02)
    quiet(axes, title=title, x="false positives per scan", y="sensitivity")


def _draw_intervals(axes: "Axes", known: Row, colour: str, *, aside: float) -> None:
    """The 95 % intervals at the seven rates, as thin bars."""
    for rate, interval in (known.get("sensitivity_at_fp_per_scan_ci95") or {}).items():
        if interval:
            axes.vlines(float(rate) * aside, *interval, color=colour, lw=4, alpha=0.25)


def _cpm(known: Row) -> str:
    return f", CPM {known['cpm']:.3f}" if _is_number(known.get("cpm")) else ""


def _signed(percent: float) -> str:
    return f"{round(percent):+d}".replace("-", "−") if round(percent) else "0"


def _dice(iou: float) -> float:
    return 2 * float(iou) / (1 + float(iou))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
