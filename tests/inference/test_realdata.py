"""Prediction on real thorax CT: no lesion is left out, backends agree, results are where the tumour is."""

import math
import subprocess
import xml.etree.ElementTree

import highdicom
import numpy as np
import pytest
import SimpleITK
import torch

from segpipe.case import Case
from segpipe.export.model_folder import write_model_folder
from segpipe.geometry import Grid, to_world
from segpipe.inference.batch.scans import find_scans, number_slices
from segpipe.inference.engines.backends import build_engine
from segpipe.inference.findings import ClassComponents, measure_findings
from segpipe.inference.options import PredictOptions
from segpipe.inference.predictor import predict_case
from segpipe.inference.window.grid import choose_grid
from segpipe.inference.window.region import require_lungs
from segpipe.inference.window.sliding import Sliding, starts
from segpipe.io.dicom.objects import Derivation, FindingMap, Maker
from segpipe.io.dicom.rtstruct.reading import read_rtstruct
from segpipe.io.dicom.rtstruct.writing import write_rtstruct
from segpipe.io.dicom.seg.writing import write_dicom_seg
from segpipe.io.dicom.series.series import find_series, read_series, stack_series
from segpipe.io.dicom.sr import write_dicom_sr
from segpipe.labels import TUMOUR
from segpipe.lesions import find_components, label_lesions
from segpipe.networks import build_network
from segpipe.preprocessing.recipe import Recipe
from segpipe.preprocessing.resampling import apply_window, plan_preparation, resample_to_recipe

pytestmark = [pytest.mark.realdata, pytest.mark.slow]
# small windows are the hard case: large ones reach beyond the lungs by themselves
SMALL = Recipe("ct_nodule", (1.5, 1.5, 1.5), (-1000.0, 400.0), (32, 32, 32))


class Everything:
    """Calls every voxel that it sees foreground."""

    def __init__(self):
        self.calls = 0

    def __call__(self, patches_bcxyz):
        self.calls += len(patches_bcxyz)
        return patches_bcxyz.new_ones(patches_bcxyz.shape)


@pytest.fixture(scope="module")
def tumour(realdata):
    """LUNG1-001: its series, the scan and the tumour that a radiologist drew."""
    found = find_series(realdata / "nsclc_radiomics" / "LUNG1-001")
    return read_with_tumour(found)


def read_with_tumour(found):
    (structures,) = [file for file in found.annotations if file.refers_to(found.series[0])]
    mask = read_rtstruct(structures.file, found.series[0], roi="GTV-1")["GTV-1"]
    volume = read_series(found.series[0])
    return found.series[0], Case("LUNG1", volume.array, volume.grid), mask.astype(np.uint8)


def searched(case):
    """Where at least one window is run, and the part of all windows that is."""
    counted = Everything()
    options = PredictOptions(keep_probability=False, overlap=0.25, region=require_lungs)
    mask = predict_case(case, SMALL, counted, options, divisor=(8, 8, 8)).mask
    frame = choose_grid(plan_preparation(case.grid, SMALL), SMALL, (8, 8, 8))
    sliding = Sliding(frame.window, options.overlap, 1)
    windows = math.prod(len(starts(frame.size, sliding, axis=axis)) for axis in range(3))
    return mask, counted.calls / windows


def test_every_voxel_of_a_real_tumour_is_searched(tumour):
    assert_searched(tumour)


def test_every_voxel_of_another_real_tumour_is_searched(realdata):
    assert_searched(read_with_tumour(find_series(realdata / "nsclc_radiomics" / "LUNG1-002")))


def assert_searched(found):
    _, case, tumour = found
    mask, part = searched(case)
    assert part < 0.75
    assert tumour.sum() > 50_000
    assert mask[tumour > 0].all()


def test_the_boxes_around_another_real_tumour_are_searched(realdata):
    folder = realdata / "lung_pet_ct_dx"
    boxes = {}
    for file in folder.rglob("*.xml"):
        corners = xml.etree.ElementTree.parse(file).find(".//bndbox")
        boxes[file.stem] = [int(float(corners.findtext(name))) for name in ("xmin", "xmax", "ymin", "ymax")]
    inside = []
    for series in find_series(folder).series:
        volume = read_series(series)
        mask, part = searched(Case("A0001", volume.array, volume.grid))
        assert part < 0.75
        marked = {number: plane.uid for number, plane in enumerate(stack_series(series).planes) if plane.uid in boxes}
        for number, uid in marked.items():
            left, right, top, bottom = boxes[uid]
            inside.append(mask[left:right, top:bottom, number].all())
    assert len(inside) >= 10
    assert all(inside)


def test_backends_agree_on_a_real_scan(tumour, tmp_path):
    """Each backend's mask of bone, which a network learnt within seconds, against float32 in PyTorch.

    In float32 they agree to 0.999. bfloat16, which some hardware is given by default, moves voxels on edges; thin bone
    has more of them than nodules, and a network of seconds is less sure of them than a trained one.
    """
    _, whole, _ = tumour
    box = (slice(140, 372), slice(160, 400), slice(40, 90))
    affine = whole.grid.affine.copy()
    affine[:3, 3] = to_world(whole.grid.affine, [part.start for part in box])
    image = np.ascontiguousarray(whole.image[box])
    case = Case("crop", image, Grid(image.shape, affine))
    folder = fit_bone(case, tmp_path / "model")
    masks, half = {}, set()
    for name, backend, exact in (
        ("torch", "torch", True),
        ("torch, hardware's choice", "torch", False),
        ("onnx", "onnx", True),
        *((("openvino", "openvino", True), ("openvino, its choice", "openvino", False)) if has_openvino() else ()),
    ):
        engine = build_engine(folder, backend=backend, device="cpu", exact=exact)
        options = PredictOptions(keep_probability=False, region=None, min_volume_mm3=20.0)
        half |= {name} if "bfloat16" in engine.name else set()
        masks[name] = predict_case(case, folder.recipe, engine, options, divisor=folder.divisor).mask > 0
    reference = masks.pop("torch")
    assert reference.sum() > 20_000
    for name, mask in masks.items():
        dice = 2 * np.count_nonzero(mask & reference) / (mask.sum() + reference.sum())
        assert dice >= (0.99 if name in half else 0.999), name
    assert "onnx" not in half


def has_openvino():
    try:
        import openvino  # noqa: F401
    except ImportError:
        return False
    return True


def fit_bone(case, folder):
    recipe = Recipe("bone", (1.5, 1.5, 2.0), (-1000.0, 400.0), (64, 64, 32))
    spec = {"name": "unet", "channels": [8, 16], "strides": [2], "num_res_units": 1, "norm": "instance"}
    spec |= {"act": "leakyrelu", "dropout": 0.0}
    hu = resample_to_recipe(case.image, plan_preparation(case.grid, recipe))
    image, bone = apply_window(hu, recipe), (hu > 250).long()
    torch.manual_seed(0)
    network = build_network(spec)
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    places = torch.nonzero(bone)
    for place in places[torch.randint(len(places), (200,))]:
        part = tuple(slice(int(min(max(p - 16, 0), n - 32)), None) for p, n in zip(place, hu.shape, strict=True))
        part = tuple(slice(axis.start, axis.start + 32) for axis in part)
        loss = torch.nn.functional.cross_entropy(network(image[part][None, None]), bone[part][None])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return write_model_folder(
        folder,
        network=network.eval(),
        spec=spec,
        recipe=recipe,
        operating_point={"threshold": 0.5, "min_volume_mm3": 0.0, "min_probability": 0.0, "flips": []},
        about={},
        example_bcxyz=image[None, None, :80, :80, :40],
    )


def test_a_real_tumour_has_its_side_and_the_slice_number_of_its_series(realdata, tumour):
    import pydicom

    series, case, mask = tumour
    findings = measured(case, mask)
    (scan,) = find_scans(realdata / "nsclc_radiomics" / "LUNG1-001")
    (finding,) = number_slices(findings, scan, case.grid)
    lungs = {name: read_lung(realdata, name) for name in ("Lung L", "Lung R")}
    across = np.argwhere(mask)[:, 0].mean()
    apart = {name: abs(np.argwhere(lung)[:, 0].mean() - across) for name, lung in lungs.items()}
    assert finding.side == ("left" if apart["Lung L"] < apart["Lung R"] else "right")
    heights = np.concatenate([np.flatnonzero(lung.any(axis=(0, 1))) for lung in lungs.values()])
    bottom, top = sorted(to_world(case.grid.affine, [[0, 0, heights.min()], [0, 0, heights.max()]])[:, 2])
    share = (finding.centre_mm[2] - bottom) / (top - bottom)
    assert abs(share - 1 / 3) > 0.05 < abs(share - 2 / 3), "the physicist's lungs decide clearly"
    assert finding.zone == ("lower", "middle", "upper")[int(3 * share)]
    plane = stack_series(series).planes[finding.slice_index]
    header = pydicom.dcmread(plane.file.path, stop_before_pixels=True)
    assert finding.slice_number == header.InstanceNumber
    assert header.ImagePositionPatient[2] == pytest.approx(
        to_world(case.grid.affine, [0, 0, finding.slice_index])[2], abs=0.01
    )
    assert finding.volume_mm3 == pytest.approx(156_000, rel=0.01)


def read_lung(realdata, name):
    found = find_series(realdata / "nsclc_radiomics" / "LUNG1-001")
    (structures,) = [file for file in found.annotations if file.refers_to(found.series[0])]
    return read_rtstruct(structures.file, found.series[0], roi=name)[name]


def measured(case, mask):
    components = find_components(mask)
    kept = list(range(1, components.count + 1))
    return measure_findings(case, [ClassComponents(TUMOUR, components, kept, [(0.9, 0.95)] * components.count)])


def test_dicom_results_of_a_real_series_are_valid_and_within_a_tenth_of_a_millimetre(tumour, tmp_path):
    series, case, mask = tumour
    mask = mask.copy()
    mask[100:112, 300:309, 30:34] = 1  # a second finding
    numbers, count = label_lesions(mask)
    findings = measured(case, mask)
    assert count == len(findings) == 2
    maps = [FindingMap(TUMOUR, numbers)]
    derivation = Derivation(series, (TUMOUR,), Maker("lung_tumour", "1", "0123456789abcdef", "0"))
    files = {
        "binary": write_dicom_seg(tmp_path / "binary.dcm", maps, derivation=derivation),
        "labels": write_dicom_seg(tmp_path / "labels.dcm", maps, derivation=derivation, kind="LABELMAP"),
        "whole": write_dicom_seg(tmp_path / "whole.dcm", maps, derivation=derivation, per_finding=False),
        "structures": write_rtstruct(tmp_path / "structures.dcm", maps, derivation=derivation),
    }
    files["report"] = write_dicom_sr(
        tmp_path / "report.dcm", findings, derivation=derivation, segmentation=files["binary"]
    )
    for name, file in files.items():
        reported = subprocess.run(["dciodvfy", "-new", str(file)], capture_output=True, text=True, check=False)
        assert [line for line in reported.stderr.splitlines() if line.startswith("Error")] == [], name
        assert reported.returncode == 0, name
    for name in ("binary", "labels"):
        volume = highdicom.seg.segread(files[name]).get_volume(combine_segments=True)
        for finding in findings:
            centre = to_world(volume.affine, np.argwhere(volume.array == finding.number)).mean(axis=0)
            np.testing.assert_allclose(centre, finding.centre_lps_mm, atol=0.1)
    image = SimpleITK.ReadImage(files["whole"])
    assert image.GetSize() == case.grid.shape
    shown = SimpleITK.ConnectedComponent(image > 0, True)
    shape = SimpleITK.LabelShapeStatisticsImageFilter()
    shape.Execute(SimpleITK.RelabelComponent(shown))
    for finding in findings:
        np.testing.assert_allclose(shape.GetCentroid(finding.number), finding.centre_lps_mm, atol=0.1)
