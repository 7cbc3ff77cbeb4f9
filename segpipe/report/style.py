"""One look for all figures: colours for colour-blind readers, too, quiet axes, and pages that can turn dark."""

import base64
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito, Color Universal Design (2008)
BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY = "#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9"
CYCLE = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)
INK, FAINT = "#1f2933", "#9aa5b1"
REFERENCE, PREDICTION, SECOND_PREDICTION = SKY, ORANGE, PURPLE
_SETTINGS: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Arial", "sans-serif"],
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": FAINT,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "segpipe",
}
_SVG_IMAGE_DPI = 190
# what a page's own colours replace when it is dark
_PAGE_COLOURS = {
    INK: "var(--ink)",
    FAINT: "var(--faint)",
    BLUE: "var(--c1)",
    VERMILION: "var(--c2)",
    GREEN: "var(--c3)",
    PURPLE: "var(--c4)",
    ORANGE: "var(--c5)",
    SKY: "var(--c6)",
}


@contextmanager
def house_style() -> Iterator[None]:
    """Figures made or saved inside have segpipe's look."""
    import matplotlib as mpl

    with mpl.rc_context(_SETTINGS):
        yield


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure, in inches, that no global state of matplotlib knows."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def quiet(axes: "Axes", *, title: str = "", x: str = "", y: str = "") -> None:
    """Names the axes and draws the grid behind the data."""
    axes.set(title=title, xlabel=x, ylabel=y)
    axes.grid(True)
    axes.set_axisbelow(True)


def titled(title: str, data: str | None) -> str:
    """The title with the data's name, so that nobody takes a phantom's figures for a patient's.

    >>> titled("FROC", "phantom")
    'FROC · phantom'
    """
    return f"{title} · {data}" if data else title


def to_svg(figure: "Figure", *, prefix: str) -> str:
    """The figure as inline SVG whose colours follow the page.

    Args:
        figure: Any figure.
        prefix: Makes the ids unique on the page.
    """
    stream = io.StringIO()
    with house_style():
        figure.savefig(stream, format="svg", transparent=True, dpi=_SVG_IMAGE_DPI)
    svg = re.sub(r"<metadata>.*?</metadata>", "", stream.getvalue(), flags=re.S)
    svg = svg[svg.index("<svg") :]
    for colour, variable in _PAGE_COLOURS.items():
        svg = svg.replace(colour, variable)
    svg = re.sub(r'id="([^"]+)"', rf'id="{prefix}-\1"', svg)
    svg = re.sub(r'(href="#|url\(#)', rf"\1{prefix}-", svg)
    svg = re.sub(r"data:image/png;base64,([A-Za-z0-9+/=\s]+)", _smaller, svg)
    return re.sub(r'<svg [^>]*?viewBox="([^"]+)"[^>]*>', r'<svg viewBox="\1" role="img">', svg, count=1)


def to_png(figure: "Figure", *, dpi: int = 110) -> bytes:
    """The figure as PNG."""
    stream = io.BytesIO()
    with house_style():
        figure.savefig(stream, format="png", dpi=dpi)
    return stream.getvalue()


def _smaller(found: re.Match[str]) -> str:
    """A grey picture as JPEG, a sixth of its size, so that a page with a dozen cases can be mailed."""
    from PIL import Image

    image = Image.open(io.BytesIO(base64.b64decode(found[1])))
    stream = io.BytesIO()
    image.convert("L").save(stream, format="JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"
