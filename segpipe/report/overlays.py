"""A case as a radiologist looks at it: lung window, the reference's contour and the prediction's."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from segpipe.case import Case
from segpipe.geometry import Grid, axis_directions
from segpipe.report.style import PREDICTION, REFERENCE, house_style, new_figure, titled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LUNG_WINDOW_HU = (-1350.0, 150.0)
MARGIN_MM = 15.0
Array = NDArray[Any]
Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class View:
    """One panel: the slice across `axis`, cut to a box, with contours or a frame around another box."""

    name: str
    axis: int
    box: Box
    contours: bool = True
    frame: Box | None = None


def overlay(
    case: Case,
    prediction: Array,
    title: str,
    *,
    data: str | None = None,
    drawn: tuple[str, str] = ("prediction", PREDICTION),
) -> "Figure":
    """Draws the axial slice with most reference and the coronal one through it, in the lung window.

    A whole scan is shown with a box, and enlarged next to it; a crop with and without contours. Right of the patient is
    left of the picture.

    Args:
        case: The scan, with its reference mask if there is one.
        prediction: Mask on the scan's grid.
        title: What the case stands for, e.g. `median case LUNG_042, Dice 0.82`.
        data: The data set's name.
        drawn: What the prediction is called, and the colour of its contour.
    """
    image, spacing_mm = upright(case.image, case.grid)
    reference = upright(case.mask if case.mask is not None else np.zeros(case.image.shape), case.grid)[0] > 0
    predicted = upright(prediction, case.grid)[0] > 0
    at, near = lesion_region(reference, predicted, spacing_mm)
    views = _views(image.shape, near)
    with house_style():
        figure = new_figure(2.15 * len(views), 3.2)
        figure.suptitle(titled(title, data), x=0.01, ha="left", fontweight="bold")
        for number, view in enumerate(views, start=1):
            axes = figure.add_subplot(1, len(views), number)
            masks = (reference, predicted) if view.contours else ()
            planes = [_cut(array, view.axis, at, view.box) for array in (image, *masks)]
            _draw(axes, planes, spacing_mm, view.axis, colour=drawn[1])
            place = f"slice {_file_slice(case.grid, view.axis, at[view.axis])} of {image.shape[view.axis]}"
            axes.set_title(f"{view.name}\n{place}", loc="left", fontweight="normal", fontsize=9)
            if view.frame:
                _draw_frame(axes, view.frame)
        _add_legend(figure, case.mask is not None, drawn)
    return figure


def lesion_region(
    reference: Array, predicted: Array, spacing_mm: tuple[float, float, float], *, margin_mm: float = MARGIN_MM
) -> tuple[tuple[int, int, int], Box]:
    """Where a picture of a case looks: at the lesion in the axial slice with most reference (else prediction).

    Args:
        reference: True inside the reference mask.
        predicted: True inside the predicted mask.
        spacing_mm: Of both.
        margin_mm: Around the lesion; the whole scan is the box when both masks are empty.

    Returns:
        The slices of that lesion with most foreground, and a box around it and what touches it.
    """
    from scipy.ndimage import find_objects, label

    leading = reference if reference.any() else predicted
    at = _fullest(leading)
    if not leading.any():
        return at, _whole(leading.shape)
    numbers, _ = label(reference | predicted, structure=np.ones((3, 3, 3)))
    inside = numbers[:, :, at[2]][leading[:, :, at[2]]]
    number = int(np.bincount(inside).argmax())
    box = find_objects(numbers)[number - 1]
    x, y, z = (
        place + axis.start for place, axis in zip(_fullest((leading & (numbers == number))[box]), box, strict=True)
    )
    edges = [int(np.ceil(margin_mm / step)) for step in spacing_mm]
    return (x, y, z), _widened(box, edges, leading.shape)


def upright(array: Array, grid: Grid) -> tuple[Array, tuple[float, float, float]]:
    """The array with axes running right → left, anterior → posterior and superior → inferior, and its spacing."""
    directions = axis_directions(grid.affine)
    order = [next(axis for axis, (world, _) in enumerate(directions) if world == wanted) for wanted in range(3)]
    turned = np.transpose(array, order)
    for world, axis in enumerate(order):
        if directions[axis][1] > 0:
            turned = np.flip(turned, world)
    x, y, z = (grid.spacing_mm[axis] for axis in order)
    return turned, (x, y, z)


def _fullest(mask: Array) -> tuple[int, int, int]:
    """The index, on each axis, of the slice with most foreground, of equal ones the middle one."""
    areas = (mask.sum(axis=tuple({0, 1, 2} - {axis})) for axis in range(3))
    fullest = (np.flatnonzero(area == area.max()) for area in areas)
    x, y, z = (int(found[len(found) // 2]) for found in fullest)
    return x, y, z


def _widened(box: Box, edges: list[int], shape: tuple[int, ...]) -> Box:
    x, y, z = (
        slice(max(0, axis.start - edge), min(n, axis.stop + edge))
        for axis, edge, n in zip(box, edges, shape, strict=True)
    )
    return x, y, z


def _views(shape: tuple[int, ...], near: Box) -> list[View]:
    whole = _whole(shape)
    if (near[0].stop - near[0].start) * 2 < shape[0]:
        return [View("axial", 2, whole, frame=near), View("enlarged", 2, near), View("coronal", 1, near)]
    return [View("axial", 2, whole), View("without contours", 2, whole, contours=False), View("coronal", 1, whole)]


def _cut(array: Array, axis: int, at: tuple[int, int, int], box: Box) -> Array:
    """The slice through `at`, rows downwards and columns rightwards."""
    across = [box[other] for other in range(3) if other != axis]
    plane: Array = np.take(array, at[axis], axis=axis)[across[0], across[1]]
    return plane.T


def _draw(axes: "Axes", planes: list[Array], spacing_mm: tuple[float, float, float], axis: int, *, colour: str) -> None:
    from matplotlib.patheffects import withStroke

    image, *masks = planes
    across, down = [spacing_mm[other] for other in range(3) if other != axis]
    low, high = LUNG_WINDOW_HU
    axes.imshow(image, cmap="gray", vmin=low, vmax=high, aspect=down / across, interpolation="bilinear")
    for mask, line in zip(masks, (REFERENCE, colour), strict=False):
        if mask.any():
            padded = np.pad(mask.astype(float), 1)
            rows, columns = (np.arange(n) - 1 for n in padded.shape)
            axes.contour(columns, rows, padded, levels=[0.5], colors=[line], linewidths=1.5)
    axes.set(xticks=[], yticks=[], xlim=(-0.5, image.shape[1] - 0.5), ylim=(image.shape[0] - 0.5, -0.5))
    axes.spines[:].set_visible(False)
    axes.set_anchor("N")
    letters = ("R", "L", "A", "P") if axis == 2 else ("R", "L", "S", "I")
    for letter, (x, y) in zip(letters, ((0.03, 0.5), (0.97, 0.5), (0.5, 0.97), (0.5, 0.03)), strict=True):
        text = axes.text(x, y, letter, transform=axes.transAxes, ha="center", va="center", color="white", fontsize=8)
        text.set_path_effects([withStroke(linewidth=2, foreground="black")])


def _draw_frame(axes: "Axes", near: Box) -> None:
    from matplotlib.patches import Rectangle

    corner = (near[0].start - 0.5, near[1].start - 0.5)
    size = (near[0].stop - near[0].start, near[1].stop - near[1].start)
    axes.add_patch(Rectangle(corner, *size, fill=False, color="white", lw=0.8, alpha=0.8))


def _file_slice(grid: Grid, world: int, index: int) -> int:
    """The number, from 1 and in the file's own order, of a slice of the upright array."""
    axis, sign = next((axis, sign) for axis, (found, sign) in enumerate(axis_directions(grid.affine)) if found == world)
    return grid.shape[axis] - index if sign > 0 else index + 1


def _add_legend(figure: "Figure", with_reference: bool, drawn: tuple[str, str]) -> None:
    from matplotlib.lines import Line2D

    known = [("reference", REFERENCE)] if with_reference else []
    lines = [Line2D([], [], color=colour, lw=2, label=name) for name, colour in [*known, drawn]]
    figure.legend(handles=lines, loc="outside lower left", ncols=2)


def _whole(shape: tuple[int, ...]) -> Box:
    x, y, z = (slice(0, n) for n in shape)
    return x, y, z
