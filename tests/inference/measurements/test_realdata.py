"""Nodules that radiologists outlined in a whole LIDC scan, measured next to their published figures."""

import csv

import numpy as np
import pytest

from segpipe.case import Case
from segpipe.geometry import to_voxel, to_world
from segpipe.inference.findings import ClassComponents, measure_findings
from segpipe.inference.measurements.slices import THICK
from segpipe.io.dicom.series.series import find_series, read_series
from segpipe.io.images.volumes import read_volume
from segpipe.labels import NODULE
from segpipe.lesions import find_components

pytestmark = [pytest.mark.realdata, pytest.mark.slow]
PATIENT = "LIDC-IDRI-0003"


def read_crop(realdata, kind, row):
    return read_volume(realdata / "lidc_nodules" / kind / f"{row['nodule']}.nii.gz")


def test_the_nodules_of_a_whole_scan_have_their_published_size_side_and_type(realdata):
    volume = read_series(find_series(realdata / "lidc_idri" / PATIENT).series[0])
    with (realdata / "lidc_nodules" / "nodules.csv").open() as stream:
        rows = [row for row in csv.DictReader(stream) if row["patient"] == PATIENT]
    mask = np.zeros(volume.array.shape, np.uint8)
    for row in rows:
        crop, image = read_crop(realdata, "masks", row), read_crop(realdata, "images", row)
        start = np.rint(to_voxel(volume.grid.affine, to_world(crop.grid.affine, [0, 0, 0]))).astype(int)
        box = tuple(slice(a, a + n) for a, n in zip(start, crop.array.shape, strict=True))
        assert np.array_equal(volume.array[box], image.array), "the crop comes from this scan"
        mask[box] |= crop.array.astype(np.uint8)
    components = find_components(mask)
    kept = list(range(1, components.count + 1))
    found = [ClassComponents(NODULE, components, kept, [(0.9, 0.95)] * components.count)]
    findings = measure_findings(Case(PATIENT, volume.array, volume.grid), found)
    rows.sort(key=lambda row: -float(row["volume_mm3"]))
    assert len(findings) == len(rows) == 3
    for finding, row in zip(findings, rows, strict=True):
        published = float(row["diameter_mm"])
        assert finding.volume_mm3 == pytest.approx(float(row["volume_mm3"]), abs=0.1)
        assert published < finding.equivalent_diameter_mm < 1.25 * published, "masks reach beyond the marks"
        assert finding.centre_lps_mm == pytest.approx([float(row[f"{axis}_mm"]) for axis in "xyz"], abs=4)
        assert finding.side == (
            "left" if float(row["x_mm"]) > 0 else "right"
        )  # this patient lies straight in the gantry
        assert finding.zone in ("upper", "middle")
        assert finding.nodule_type == "solid"  # textures 4 and 5, no calcification
        assert finding.slice_note == THICK
        assert finding.slice_spacing_mm == pytest.approx(2.5)
