"""The part of a scan around a lesion, with masks, packed so that a page can show it slice by slice offline."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.case import Case
from segpipe.geometry import Grid, to_world
from segpipe.report.overlays import LUNG_WINDOW_HU, lesion_region
from segpipe.report.style import PREDICTION, REFERENCE, SECOND_PREDICTION
from segpipe.report.viewer_volumes import pack

MARGIN_MM = 25.0
MOST_VOXELS = 1_500_000
_COLOURS = (REFERENCE, PREDICTION, SECOND_PREDICTION)


@dataclass(frozen=True)
class CaseView:
    """A part of a scan, as base64 of gzipped NIfTI files.

    Args:
        ct: The scan.
        masks: Name → mask: first the reference, then one prediction or two.
        centre_mm: Where the reader starts, RAS+ mm.
        hidden: Masks that are shown when the reader asks for them.
    """

    ct: str
    masks: Mapping[str, str]
    centre_mm: tuple[float, float, float]
    hidden: tuple[str, ...] = ()


def view_case(case: Case, predictions: Mapping[str, NDArray[Any]]) -> CaseView:
    """Packs the surroundings of the lesion that the case's overlay shows.

    Args:
        case: The scan with its reference mask, if there is one.
        predictions: Name → mask on the scan's grid; one or two.
    """
    reference = case.mask if case.mask is not None else np.zeros(case.image.shape, dtype=np.uint8)
    masks = {"reference": reference, **predictions}
    found = np.logical_or.reduce([mask > 0 for mask in predictions.values()])
    at, box = lesion_region(reference > 0, found, case.grid.spacing_mm, margin_mm=MARGIN_MM)
    x, y, z = reference[box].shape
    affine = case.grid.affine.copy()
    affine[:3, 3] = to_world(affine, [axis.start for axis in box])
    part = Case(case.id, case.image[box], Grid((x, y, z), affine))
    packed = {
        name: pack(part, np.asarray(mask[box] > 0, np.uint8), most_voxels=MOST_VOXELS) for name, mask in masks.items()
    }
    right, front, up = to_world(case.grid.affine, at).tolist()
    shown = {name: one.mask for name, one in packed.items()}
    return CaseView(packed["reference"].ct, shown, (right, front, up))


def page_views(views: Mapping[str, CaseView]) -> dict[str, Any] | None:
    """What the page needs to show the views: packed volumes, each once, window and library; None without views."""
    if not views:
        return None
    volumes = list(dict.fromkeys(text for view in views.values() for text in (view.ct, *view.masks.values())))
    places = {text: place for place, text in enumerate(volumes)}
    cases = {
        name: {
            "ct": places[view.ct],
            "masks": [
                {"name": mask, "volume": places[text], "colour": colour, "shown": mask not in view.hidden}
                for (mask, text), colour in zip(view.masks.items(), _COLOURS, strict=False)
            ],
            "centre_mm": view.centre_mm,
        }
        for name, view in views.items()
    }
    return {"content": {"volumes": volumes, "cases": cases}, "window_hu": LUNG_WINDOW_HU, "library": _library()}


@cache
def _library() -> str:
    """NiiVue, gzipped to a third, as base64."""
    from isal import igzip

    script = (files("segpipe.report") / "static" / "niivue.js").read_bytes()
    return base64.b64encode(igzip.compress(script, compresslevel=3, mtime=0)).decode()
