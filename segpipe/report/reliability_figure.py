"""The figure of a model's confidence: how often it is right, and what risk goes with keeping the surest findings."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from segpipe.report.style import BLUE, FAINT, VERMILION, house_style, new_figure, quiet, titled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Row = Mapping[str, Any]
_COLOURS = {"voxels": BLUE, "findings": VERMILION}


def reliability_diagram(calibration: Mapping[str, Row], *, data: str | None = None) -> "Figure":
    """Draws confidence against the share that is right, of voxels and of findings, and risk along coverage.

    Args:
        calibration: The part `calibration` of `summary.json`.
        data: The data set's name.
    """
    findings = calibration.get("findings")
    with house_style():
        figure = new_figure(8.4 if findings else 4.4, 3.6)
        _draw_reliability(figure.add_subplot(1, 2 if findings else 1, 1), calibration, data)
        if findings:
            _draw_risk(figure.add_subplot(1, 2, 2), findings["risk"])
        figure.legend(loc="outside lower center", ncols=3)
    return figure


def _draw_reliability(axes: "Axes", calibration: Mapping[str, Row], data: str | None) -> None:
    axes.plot([0, 1], [0, 1], color=FAINT, lw=1.0, ls="--", label="right as often as it says")
    for name, found in calibration.items():
        rows: Sequence[Row] = found["reliability"]
        sure, right = ([row[key] for row in rows] for key in ("confidence", "right"))
        most = max(row["count"] for row in rows)
        sizes = [10 + 60 * row["count"] / most for row in rows]
        axes.plot(sure, right, color=_COLOURS[name], lw=1.4, label=f"{name}, ECE {_error(found):.3f}")
        axes.scatter(sure, right, s=sizes, color=_COLOURS[name], alpha=0.7, lw=0)
    axes.set(xlim=(0, 1), ylim=(-0.02, 1.02))
    quiet(axes, title=titled("Reliability", data), x="confidence", y="share that is right")


def _draw_risk(axes: "Axes", risk: Mapping[str, float]) -> None:
    coverage = [float(share) for share in risk]
    axes.plot(coverage, list(risk.values()), "-o", color=VERMILION, lw=1.8, ms=4)
    axes.set_ylim(bottom=0)
    quiet(axes, title="Risk along coverage", x="share of findings kept, surest first", y="mean of 1 − Dice")


def _error(found: Row) -> float:
    """Of what is drawn: of findings the calibrated confidence, where it is known."""
    return float(found.get("ece_calibrated", found["ece"]) if "event" in found else found["ece"])
