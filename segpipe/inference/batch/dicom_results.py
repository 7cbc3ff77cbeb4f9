"""Results in radiology's formats: segmentation, report and structure set that refer to their series."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from segpipe import __version__
from segpipe.errors import ConfigError
from segpipe.export.model_folder import ModelFolder
from segpipe.inference.batch.results import Result, Writer
from segpipe.inference.batch.runner import model_digest
from segpipe.inference.batch.scans import Scan
from segpipe.inference.findings import number_findings
from segpipe.inference.follow_up.words import describe_lost, describe_since
from segpipe.io.dicom.objects import Derivation, FindingMap, Maker, load_standard
from segpipe.io.dicom.parametric_map import write_parametric_map
from segpipe.io.dicom.rtstruct.writing import write_rtstruct
from segpipe.io.dicom.seg.writing import Kind, write_dicom_seg
from segpipe.io.dicom.series.description import SeriesInfo
from segpipe.io.dicom.sr import write_dicom_sr
from segpipe.io.dicom.sr_growth import Changes

_OF_ONE_CALL = ("prompt", "earlier", "days", "ratings")
_DECISIVE = ("overlap", "flips", "threshold", "min_volume_mm3", "min_probability", "classes", *_OF_ONE_CALL)


def derive(series: SeriesInfo, model: ModelFolder, options: Mapping[str, Any]) -> Derivation:
    """What is written from a series by a model; both and the options alone decide the UIDs of what is written.

    Args:
        series: The series.
        model: The model.
        options: The fields of `PredictOptions` with which it predicts, and the prompt if there is one.
    """
    recipe = model.recipe
    maker = Maker(recipe.name, model_digest(model), recipe.digest, __version__, point_digest(options))
    return Derivation(series, recipe.label_map.classes, maker)


def point_digest(options: Mapping[str, Any]) -> str:
    """8 hex digits of what decides which lesions become findings, and which voxels they have."""
    chosen = {name: options[name] for name in _DECISIVE if name in options}
    return hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()[:8]


def write_segmentation(result: Result, folder: Path) -> list[Path]:
    """Writes NAME.seg.dcm with a segment per finding; nothing when there is no finding, which no SEG can express."""
    return _write_seg(result, folder / f"{result.scan.name}.seg.dcm")


def write_label_map(result: Result, folder: Path) -> list[Path]:
    """Writes NAME.labelmap.dcm, a label map with a segment per finding; nothing when there is no finding."""
    return _write_seg(result, folder / f"{result.scan.name}.labelmap.dcm", kind="LABELMAP")


def write_mask_object(result: Result, folder: Path) -> list[Path]:
    """Writes NAME.mask.dcm, one segment on every slice, which ITK opens on the grid of the series; or nothing."""
    return _write_seg(result, folder / f"{result.scan.name}.mask.dcm", per_finding=False)


def write_report(result: Result, folder: Path, *, former: Derivation | None = None) -> list[Path]:
    """Writes NAME.sr.dcm, and NAME.seg.dcm with the segments that it refers to.

    Args:
        result: What was predicted.
        folder: Where to write.
        former: Of the report that this one replaces, if there is one.
    """
    shown = write_segmentation(result, folder)
    report = write_dicom_sr(
        folder / f"{result.scan.name}.sr.dcm",
        result.prediction.findings,
        derivation=_derivation(result),
        segmentation=shown[0] if shown else None,
        changes=_changes(result),
        former=former,
    )
    return [*shown, report]


def write_structures(result: Result, folder: Path) -> list[Path]:
    """Writes NAME.rtstruct.dcm; nothing when there is no finding."""
    if not result.prediction.findings:
        return []
    file = folder / f"{result.scan.name}.rtstruct.dcm"
    return [write_rtstruct(file, _finding_maps(result), derivation=_derivation(result))]


def write_maps(result: Result, folder: Path) -> list[Path]:
    """Writes NAME.METHOD.map.dcm for each explanation that shows anything."""
    shown = [one for one in result.prediction.explanations if one.volume.any()]
    return [
        write_parametric_map(
            folder / f"{result.scan.name}.{one.name}.map.dcm",
            one.volume,
            derivation=_derivation(result),
            name=one.name,
            unit=one.unit,
        )
        for one in shown
    ]


DICOM_WRITERS: dict[str, Writer] = {
    "dicom-seg": write_segmentation,
    "dicom-labelmap": write_label_map,
    "dicom-mask": write_mask_object,
    "dicom-sr": write_report,
    "rtstruct": write_structures,
    "dicom-map": write_maps,
}


def load_writers(formats: Sequence[str]) -> None:
    """Loads what writing these formats needs, so that its memory is reckoned before there is a scan."""
    if any(name.startswith("dicom-") for name in formats):
        load_standard()


def check_sources(scans: Sequence[Scan], formats: Sequence[str]) -> None:
    """Refuses DICOM formats for scans that are no DICOM series, before any is predicted.

    Raises:
        ConfigError: with the formats.
    """
    wanted = [name for name in formats if name in DICOM_WRITERS]
    foreign = [scan.name for scan in scans if scan.series is None]
    if wanted and foreign:
        raise ConfigError(
            "DICOM results need a DICOM series to refer to",
            facts={"formats": ", ".join(wanted), "not DICOM": ", ".join(foreign[:5])},
            hint="give the DICOM folder or zip as --input, or write nifti, csv, json or html",
        )


def _write_seg(result: Result, file: Path, *, kind: Kind = "BINARY", per_finding: bool = True) -> list[Path]:
    if not result.prediction.findings:
        return []
    maps, derivation = _finding_maps(result), _derivation(result)
    return [write_dicom_seg(file, maps, derivation=derivation, kind=kind, per_finding=per_finding)]


def _finding_maps(result: Result) -> list[FindingMap]:
    labels = result.model.recipe.label_map
    numbered = number_findings(result.prediction.mask, labels)
    return [FindingMap(label, numbers) for label, numbers in zip(labels.classes, numbered, strict=True)]


def _changes(result: Result) -> Changes:
    """What became of the findings since the earlier scan, if there is one."""
    compared = result.follow_up
    if compared is None:
        return Changes()
    return Changes(compared.by_finding, [describe_since(compared), *describe_lost(compared)])


def _derivation(result: Result) -> Derivation:
    if result.scan.series is None:
        raise ConfigError("DICOM results need a DICOM series to refer to")
    settings = result.settings
    chosen = {name: settings[name] for name in _OF_ONE_CALL if settings.get(name) is not None}
    return derive(result.scan.series, result.model, {**settings.get("options", {}), **chosen})
