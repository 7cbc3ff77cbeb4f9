"""A case as a radiologist looks at it: lung window, the reference's contour and the prediction's."""

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


def overlay(case: Case, prediction: Array, title: str, *, data: str | None = None) -> "Figure":
    """Draws the axial slice with most reference, and where the scan is high enough the coronal one through it.

    A whole scan is shown with a box, and enlarged beside it. Right of the patient is left of the picture.

    Args:
        case: The scan, with its reference mask if there is one.
        prediction: Mask on the scan's grid.
        title: What the case stands for, e.g. `median case LUNG_042, Dice 0.82`.
        data: The data set's name.
    """
    image, spacing_mm = upright(case.image, case.grid)
    reference = upright(case.mask if case.mask is not None else np.zeros(case.image.shape), case.grid)[0] > 0
    predicted = upright(prediction, case.grid)[0] > 0
    at = _fullest(reference if reference.any() else predicted)
    near = _near(reference | predicted, at, spacing_mm)
    views = _views(image.shape, near, spacing_mm)
    with house_style():
        figure = new_figure(4.1 * len(views), 4.5)
        figure.suptitle(titled(title, data), x=0.01, ha="left", fontweight="bold")
        for number, (name, axis, box) in enumerate(views, start=1):
            axes = figure.add_subplot(1, len(views), number)
            _draw(axes, [_cut(array, axis, at, box) for array in (image, reference, predicted)], spacing_mm, axis)
            axes.set_title(f"{name}, slice {_file_slice(case.grid, axis, at[axis])} of {image.shape[axis]}", loc="left")
            if name == "axial" and box != near and near != _whole(image.shape):
                _draw_frame(axes, image.shape, near)
        _add_legend(figure, case.mask is not None)
    return figure


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
    """The index, on each axis, of the slice with most foreground; the middle of an empty mask."""
    if not mask.any():
        x, y, z = (n // 2 for n in mask.shape)
        return x, y, z
    z = int(mask.sum(axis=(0, 1)).argmax())
    y = int(mask.sum(axis=(0, 2)).argmax())
    x = int(mask.sum(axis=(1, 2)).argmax())
    return x, y, z


def _near(mask: Array, at: tuple[int, int, int], spacing_mm: tuple[float, float, float]) -> Box:
    """A box around the component at `at`, with a margin."""
    from scipy.ndimage import find_objects, label

    if not mask.any():
        return _whole(mask.shape)
    numbers, _ = label(mask, structure=np.ones((3, 3, 3)))
    inside = numbers[:, :, at[2]]
    number = int(np.bincount(inside[inside > 0]).argmax()) if inside.any() else int(numbers.max())
    found = find_objects(numbers)[number - 1]
    edges = [int(np.ceil(MARGIN_MM / step)) for step in spacing_mm]
    x, y, z = (
        slice(max(0, axis.start - edge), min(n, axis.stop + edge))
        for axis, edge, n in zip(found, edges, mask.shape, strict=True)
    )
    return x, y, z


def _views(shape: tuple[int, ...], near: Box, spacing_mm: tuple[float, float, float]) -> list[tuple[str, int, Box]]:
    whole = _whole(shape)
    wide = (near[0].stop - near[0].start) * 2 < shape[0]
    views = [("axial", 2, whole)]
    if wide:
        views.append(("enlarged", 2, near))
    box = near if wide else whole
    height, width = ((box[axis].stop - box[axis].start) * spacing_mm[axis] for axis in (2, 0))
    if height >= width / 4:
        views.append(("coronal", 1, box))
    return views


def _cut(array: Array, axis: int, at: tuple[int, int, int], box: Box) -> Array:
    """The slice through `at`, rows downwards and columns rightwards."""
    across = [box[other] for other in range(3) if other != axis]
    plane: Array = np.take(array, at[axis], axis=axis)[across[0], across[1]]
    return plane.T


def _draw(axes: "Axes", planes: list[Array], spacing_mm: tuple[float, float, float], axis: int) -> None:
    image, reference, predicted = planes
    across, down = [spacing_mm[other] for other in range(3) if other != axis]
    low, high = LUNG_WINDOW_HU
    axes.imshow(image, cmap="gray", vmin=low, vmax=high, aspect=down / across, interpolation="bilinear")
    for mask, colour in ((reference, REFERENCE), (predicted, PREDICTION)):
        if mask.any():
            padded = np.pad(mask.astype(float), 1)
            rows, columns = (np.arange(n) - 1 for n in padded.shape)
            axes.contour(columns, rows, padded, levels=[0.5], colors=[colour], linewidths=1.5)
    axes.set(xticks=[], yticks=[], xlim=(-0.5, image.shape[1] - 0.5), ylim=(image.shape[0] - 0.5, -0.5))
    axes.spines[:].set_visible(False)
    letters = ("R", "L", "A", "P") if axis == 2 else ("R", "L", "S", "I")
    for letter, (x, y) in zip(letters, ((0.03, 0.5), (0.97, 0.5), (0.5, 0.97), (0.5, 0.03)), strict=True):
        axes.text(
            x, y, letter, transform=axes.transAxes, ha="center", va="center", color="white", fontsize=8, alpha=0.8
        )


def _draw_frame(axes: "Axes", shape: tuple[int, ...], near: Box) -> None:
    from matplotlib.patches import Rectangle

    corner = (near[0].start - 0.5, near[1].start - 0.5)
    size = (near[0].stop - near[0].start, near[1].stop - near[1].start)
    axes.add_patch(Rectangle(corner, *size, fill=False, color="white", lw=0.8, alpha=0.8))


def _file_slice(grid: Grid, world: int, index: int) -> int:
    """The number, from 1 and in the file's own order, of a slice of the upright array."""
    axis, sign = next((axis, sign) for axis, (found, sign) in enumerate(axis_directions(grid.affine)) if found == world)
    return grid.shape[axis] - index if sign > 0 else index + 1


def _add_legend(figure: "Figure", with_reference: bool) -> None:
    from matplotlib.lines import Line2D

    known = [("reference", REFERENCE)] if with_reference else []
    lines = [Line2D([], [], color=colour, lw=2, label=name) for name, colour in [*known, ("prediction", PREDICTION)]]
    figure.legend(handles=lines, loc="outside lower left", ncols=2)


def _whole(shape: tuple[int, ...]) -> Box:
    x, y, z = (slice(0, n) for n in shape)
    return x, y, z
