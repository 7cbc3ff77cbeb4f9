"""Writes a number for each voxel of a series, e.g. what a finding rests on, as a DICOM Parametric Map."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code as DicomCode

from segpipe.errors import OutputError
from segpipe.io.dicom.objects import (
    MANUFACTURER,
    SCHEME,
    SERIES_NUMBER,
    Derivation,
    cut_text,
    in_upright_slices,
    save,
    writing,
)
from segpipe.io.dicom.seg.writing import code_string, sources_and_pixels


def write_parametric_map(
    path: Path, volume: NDArray[np.float32], *, derivation: Derivation, name: str, unit: str
) -> Path:
    """Writes a map on the slices of a series that it is not 0 on, as 32-bit floats.

    Args:
        path: Replaced whole or not at all.
        volume: On the grid that `read_series` gives.
        derivation: Series, classes and model.
        name: What is mapped, in a word.
        unit: What a value is; the map has no unit of UCUM.

    Raises:
        OutputError: when the map is 0 everywhere, or the disk is full.
        ImageError: when the headers of the series are incomplete.
        GeometryError: when `volume` is on another grid.

    Source: DICOM PS3.3, A.75 «Parametric Map».
    """
    import highdicom.pm

    slices = in_upright_slices(volume, derivation)
    places = np.flatnonzero(slices.any(axis=(1, 2))).tolist()
    if not places:
        raise OutputError("a parametric map must hold a value", hint="leave it out where nothing is found")
    pixels = np.ascontiguousarray(slices[places], dtype=np.float32)
    with writing():
        sources, shown = sources_and_pixels(pixels, places, derivation)
        made = highdicom.pm.ParametricMap(
            sources,
            shown,
            **_identity(pixels, derivation, name),
            contains_recognizable_visual_features=False,
            real_world_value_mappings=[_mapping(pixels, name, unit)],
            voi_lut_transformations=[_window(float(pixels.min()), float(pixels.max()))],
            content_label=code_string(name),
            content_description=cut_text(unit),
            series_description=cut_text(f"{MANUFACTURER} {name}"),
        )
        made.BodyPartExamined = "CHEST"  # else a laterality would have to be given
    return save(made, path)


def _identity(pixels: NDArray[np.float32], derivation: Derivation, name: str) -> dict[str, Any]:
    """What tells the map from others, and who made it."""
    maker, digest = derivation.maker, hashlib.sha256(pixels.tobytes()).hexdigest()
    return {
        "series_instance_uid": derivation.uid(f"map {name}", "series"),
        "series_number": SERIES_NUMBER["PM"],
        "sop_instance_uid": derivation.uid(f"map {name}", "instance", digest),
        "instance_number": 1,
        "manufacturer": MANUFACTURER,
        "manufacturer_model_name": maker.model,
        "software_versions": maker.software,
        "device_serial_number": maker.recipe,
    }


def _mapping(pixels: NDArray[np.float32], name: str, unit: str) -> Any:
    """What a value means: it stands for itself, and has no unit of UCUM."""
    import highdicom.pm

    return highdicom.pm.RealWorldValueMapping(
        lut_label=code_string(name),
        lut_explanation=cut_text(unit),
        unit=codes.UCUM.NoUnits,
        value_range=(float(pixels.min()), float(pixels.max())),
        slope=1.0,
        intercept=0.0,
        quantity_definition=DicomCode(code_string(name), SCHEME, cut_text(f"Explanation: {name}")),
    )


def _window(low: float, high: float) -> Any:
    """Shows the map from its smallest value to its largest; below a width of 1 by the exact function alone."""
    import highdicom

    width = max(high - low, 1e-6)
    return highdicom.VOILUTTransformation((low + high) / 2, width, voi_lut_function="LINEAR_EXACT")
