"""The part of a scan around a lesion, with both masks, packed so that a report can show it slice by slice offline."""

import base64
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.case import Case
from segpipe.geometry import Grid, to_world
from segpipe.report.overlays import LUNG_WINDOW_HU, lesion_region
from segpipe.report.viewer_volumes import pack

MARGIN_MM = 25.0
MOST_VOXELS = 1_500_000


@dataclass(frozen=True)
class CaseView:
    """A part of a scan, as base64 of gzipped NIfTI files.

    Args:
        ct: The scan.
        reference: The reference mask.
        prediction: The predicted mask.
        centre_mm: Where the reader starts, RAS+ mm.
    """

    ct: str
    reference: str
    prediction: str
    centre_mm: tuple[float, float, float]


def view_case(case: Case, prediction: NDArray[Any]) -> CaseView:
    """Packs the surroundings of the lesion that the case's overlay shows.

    Args:
        case: The scan with its reference mask, if there is one.
        prediction: Mask on the scan's grid.
    """
    reference = case.mask if case.mask is not None else np.zeros(case.image.shape, dtype=np.uint8)
    masks = [np.asarray(mask > 0, dtype=np.uint8) for mask in (reference, prediction)]
    at, box = lesion_region(masks[0] > 0, masks[1] > 0, case.grid.spacing_mm, margin_mm=MARGIN_MM)
    x, y, z = masks[0][box].shape
    affine = case.grid.affine.copy()
    affine[:3, 3] = to_world(affine, [axis.start for axis in box])
    part = Case(case.id, case.image[box], Grid((x, y, z), affine))
    packed = [pack(part, mask[box], most_voxels=MOST_VOXELS) for mask in masks]
    right, front, up = to_world(case.grid.affine, at).tolist()
    return CaseView(packed[0].ct, packed[0].mask, packed[1].mask, (right, front, up))


def page_views(views: Mapping[str, CaseView]) -> dict[str, Any] | None:
    """What the page needs to show the views: the packed volumes, the window and the library; None without views."""
    if not views:
        return None
    cases = {name: asdict(view) for name, view in views.items()}
    return {"cases": cases, "window_hu": LUNG_WINDOW_HU, "library": _library()}


@cache
def _library() -> str:
    """NiiVue, gzipped to a third, as base64."""
    from isal import igzip

    script = (files("segpipe.report") / "static" / "niivue.js").read_bytes()
    return base64.b64encode(igzip.compress(script, compresslevel=3, mtime=0)).decode()
