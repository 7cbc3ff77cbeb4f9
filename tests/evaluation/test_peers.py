"""The same figures as other people's packages; nnU-Net, of the extra `peers`, is skipped where it is not installed."""

import csv
import hashlib
import json
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from segpipe.__main__ import main
from segpipe.evaluation.detection.froc import collect_marks, froc_curve
from segpipe.evaluation.evaluate import evaluate_pair
from segpipe.evaluation.measures.foreground_crops import find_foreground_crops
from segpipe.evaluation.measures.surface import hausdorff_mm, surface_dice
from segpipe.geometry import Grid
from segpipe.io.images.volumes import write_volume

SPACINGS = [(1.0, 1.0, 1.0), (0.7, 0.7, 2.5), (0.61, 0.83, 1.25)]

monai_noise = pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")  # MONAI warns of itself


def peer(name):
    return pytest.importorskip(name, reason=f"{name} is not installed: pip install -c constraints.txt -e .[test,peers]")


def lesion_pair(seed, spacing, shape=(48, 44, 20)):
    """Three lumpy lesions, the prediction shifted, resized and noisy at its border; one lesion touches the edge."""
    rng = np.random.default_rng(seed)
    places = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1) * np.array(spacing)
    masks = [np.zeros(shape, dtype=bool) for _ in range(2)]
    for centre in (np.array([12, 12, 6]), np.array([34, 30, 13]), np.array([40, 8, 0])):
        for mask, jitter in zip(masks, (1.0, 0.0), strict=True):
            middle = (centre + jitter * rng.normal(0, 1, 3)) * np.array(spacing)
            radius = rng.uniform(4.0, 7.0) + rng.normal(0, 0.6, shape)
            mask |= np.linalg.norm(places - middle, axis=-1) < radius
    return masks[0], masks[1], Grid(shape, np.diag([*spacing, 1.0]))


def monai_masks(*masks):
    import torch

    return [torch.from_numpy(mask[None, None].astype(np.float32)) for mask in masks]


@monai_noise
@pytest.mark.parametrize("spacing", SPACINGS)
def test_dice_iou_and_hausdorff_are_those_of_monai(spacing):
    from monai.metrics import compute_dice, compute_hausdorff_distance, compute_iou

    prediction, reference, grid = lesion_pair(1, spacing)
    tensors = monai_masks(prediction, reference)
    figures = evaluate_pair("c", "p", prediction, reference, grid).figures
    assert figures["dice"] == pytest.approx(compute_dice(*tensors).item(), abs=1e-6)
    assert figures["iou"] == pytest.approx(compute_iou(*tensors).item(), abs=1e-6)
    crops = find_foreground_crops(prediction, reference, grid)
    for percent in (95, 100):
        theirs = compute_hausdorff_distance(*tensors, include_background=True, percentile=percent, spacing=spacing)
        assert hausdorff_mm(crops, grid, percent=percent) == pytest.approx(theirs.item(), abs=1e-4)
    assert figures["hd95_mm"] == pytest.approx(hausdorff_mm(crops, grid, percent=95.0))


@monai_noise
@pytest.mark.parametrize("spacing", SPACINGS)
def test_surface_dice_is_that_of_monai(spacing):
    from monai.metrics import compute_surface_dice

    prediction, reference, grid = lesion_pair(2, spacing)
    tensors = monai_masks(prediction, reference)
    for tolerance in (0.5, 1.0, 2.0):
        theirs = compute_surface_dice(
            *tensors, class_thresholds=[tolerance], include_background=True, spacing=spacing, use_subvoxels=True
        )
        ours = surface_dice(find_foreground_crops(prediction, reference, grid), grid, tolerance_mm=tolerance)
        assert ours == pytest.approx(theirs.item(), abs=1e-5)


@pytest.mark.parametrize("spacing", SPACINGS)
def test_dice_overlap_and_hausdorff_are_those_of_simpleitk(spacing):
    prediction, reference, grid = lesion_pair(3, spacing)
    images = [SimpleITK.GetImageFromArray(mask.astype(np.uint8).T) for mask in (prediction, reference)]
    for image in images:
        image.SetSpacing(spacing)
    overlap = SimpleITK.LabelOverlapMeasuresImageFilter()
    overlap.Execute(images[1], images[0])  # source = reference, target = prediction
    figures = evaluate_pair("c", "p", prediction, reference, grid).figures
    assert figures["dice"] == pytest.approx(overlap.GetDiceCoefficient(1))
    assert figures["iou"] == pytest.approx(overlap.GetJaccardCoefficient(1))
    distance = SimpleITK.HausdorffDistanceImageFilter()
    distance.Execute(*images)
    ours = hausdorff_mm(find_foreground_crops(prediction, reference, grid), grid, percent=100.0)
    assert ours == pytest.approx(distance.GetHausdorffDistance(), abs=1e-4)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("spacing", SPACINGS)
def test_surface_dice_is_that_of_surface_distance(spacing, seed):
    package = peer("surface_distance")
    prediction, reference, grid = lesion_pair(seed, spacing)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it still calls scipy.ndimage.filters
        distances = package.compute_surface_distances(reference, prediction, spacing)
    for tolerance in (0.5, 1.0, 2.0):
        theirs = package.compute_surface_dice_at_tolerance(distances, tolerance)
        ours = surface_dice(find_foreground_crops(prediction, reference, grid), grid, tolerance_mm=tolerance)
        assert ours == pytest.approx(theirs, abs=1e-9)


def detection_pairs(seed, scans=30, shape=(40, 40, 20)):
    """Boxes with confidences that differ (detection maps) and boxes of a reference, some overlapping."""
    rng = np.random.default_rng(seed)
    for _ in range(scans):
        confidences, reference = np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=np.uint8)
        for corner in ((2, 2, 2), (2, 20, 2), (22, 2, 10), (22, 22, 10)):
            start, size = np.array(corner), rng.integers(3, 7, 3)
            if rng.random() < 0.6:
                reference[tuple(slice(a, a + b) for a, b in zip(start, size, strict=True))] = 1
            for _ in range(rng.integers(0, 3)):
                begin = start + rng.integers(0, 4, 3)
                box = tuple(slice(a, a + b) for a, b in zip(begin, rng.integers(3, 6, 3), strict=True))
                around = tuple(slice(max(axis.start - 1, 0), axis.stop + 1) for axis in box)
                if not confidences[around].any():
                    confidences[box] = np.round(rng.uniform(0.5, 1.0), 2)
        yield confidences, reference


def detection_results(pairs):
    grid = Grid((40, 40, 20), np.eye(4))
    return [
        evaluate_pair(f"c{n:02d}", f"p{n}", confidences > 0, reference, grid, probability=confidences)
        for n, (confidences, reference) in enumerate(pairs)
    ]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("seed", range(3))
def test_matches_average_precision_and_froc_are_those_of_picai_eval(seed):
    package = peer("picai_eval")
    pairs = list(detection_pairs(seed))
    theirs = package.evaluate(
        y_det=[confidences for confidences, _ in pairs],
        y_true=[reference for _, reference in pairs],
        allow_unmatched_candidates_with_minimal_overlap=False,
        num_parallel_calls=1,
    )
    results = detection_results(pairs)
    marks = collect_marks(results, "overlap")
    curve = froc_curve(marks)
    assert theirs.num_lesions == marks.lesions.sum()
    assert sum(result.true_positives for result in results) > 10
    assert curve.average_precision == pytest.approx(theirs.AP, abs=1e-9)
    points = slice(0, len(curve.threshold))  # their last one, of confidence 0, stands for missed lesions
    sensitivity, fp_per_scan = theirs.lesion_TPR[points], theirs.lesion_FPR[points]
    assert curve.threshold == pytest.approx(theirs.thresholds[points], abs=1e-6)
    assert curve.sensitivity == pytest.approx(sensitivity, abs=1e-6)
    assert curve.fp_per_scan == pytest.approx(fp_per_scan, abs=1e-6)


@pytest.mark.parametrize("rule", ["overlap", "centre"])
def test_froc_scores_are_those_of_monai(rule):
    from monai.metrics import compute_froc_curve_data, compute_froc_score

    marks = collect_marks(detection_results(detection_pairs(7)), rule)
    # MONAI leaves out the point of the lowest confidence; a candidate below all others gives it one to leave out.
    alarms = np.append(marks.confidence[~marks.true], 0.0)
    data = compute_froc_curve_data(alarms, marks.confidence[marks.true], int(marks.lesions.sum()), 30)
    rates = (0.25, 0.5, 1.0, 2.0)
    theirs = compute_froc_score(*data, eval_thresholds=rates)
    assert froc_curve(marks).sensitivity_at(rates).mean() == pytest.approx(theirs)


def nnunet_cases():
    """Six pairs; the first prediction is empty."""
    for number in range(6):
        prediction, reference, grid = lesion_pair(number, SPACINGS[number % 3])
        yield f"case{number}", prediction if number else np.zeros_like(prediction), reference, grid


def write_nnunet_folders(folder):
    """The pairs as files, and what `nnUNetv2_evaluate_folder` wants to know in addition."""
    for name, prediction, reference, grid in nnunet_cases():
        write_volume(folder / "predictions" / f"{name}.nii.gz", prediction.astype(np.uint8), grid)
        write_volume(folder / "references" / f"{name}.nii.gz", reference.astype(np.uint8), grid)
    (folder / "dataset.json").write_text('{"labels": {"background": 0, "nodule": 1}, "file_ending": ".nii.gz"}')
    (folder / "plans.json").write_text('{"label_manager": "LabelManager"}')


def digest_of_cases():
    """Says whether a recorded summary is of these masks."""
    masks = [mask for _, *pair, _ in nnunet_cases() for mask in pair]
    return hashlib.sha256(b"".join(np.packbits(mask).tobytes() for mask in masks)).hexdigest()


def assert_figures_of_nnunet(theirs, folder):
    """Holds segpipe's command on the same folders to nnU-Net's summary."""
    command = ["evaluate", "--predictions", folder / "predictions", "--references", folder / "references"]
    assert main([str(word) for word in [*command, "--output", folder / "out", "--processes", "1"]]) == 0
    summary = json.loads((folder / "out" / "summary.json").read_text())
    with (folder / "out" / "cases.csv").open(newline="") as stream:
        cases = {row["case"]: row for row in csv.DictReader(stream)}
    their_cases = {
        Path(case["reference_file"]).name.partition(".")[0]: case["metrics"]["1"] for case in theirs["metric_per_case"]
    }
    assert their_cases.keys() == cases.keys()
    voxels = {name: np.prod(grid.spacing_mm) for name, _, _, grid in nnunet_cases()}
    for name, figures in their_cases.items():
        assert float(cases[name]["dice"]) == pytest.approx(figures["Dice"], abs=1e-6)
        assert float(cases[name]["iou"]) == pytest.approx(figures["IoU"], abs=1e-6)
        assert float(cases[name]["reference_mm3"]) / voxels[name] == pytest.approx(figures["n_ref"], abs=1e-3)
        assert float(cases[name]["predicted_mm3"]) / voxels[name] == pytest.approx(figures["n_pred"], abs=1e-3)
    for ours, name in (("dice", "Dice"), ("iou", "IoU")):
        assert summary["metrics"][ours]["mean"] == pytest.approx(theirs["foreground_mean"][name], abs=1e-6)


def test_a_folder_has_the_figures_that_nnunet_recorded(tmp_path):
    recorded = json.loads(Path(__file__).with_name("nnunet_summary.json").read_text())
    assert recorded["provenance"]["sha256_of_masks"] == digest_of_cases()
    write_nnunet_folders(tmp_path)
    assert_figures_of_nnunet(recorded["summary"], tmp_path)


@pytest.mark.slow
def test_a_folder_has_the_figures_of_nnunets_summary(tmp_path):
    peer("nnunetv2")
    write_nnunet_folders(tmp_path)
    tool = Path(sys.executable).with_name("nnUNetv2_evaluate_folder")
    words = [tool, "references", "predictions", "-djfile", "dataset.json", "-pfile", "plans.json", "-o", "theirs.json"]
    done = subprocess.run([*map(str, words), "-np", "1"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert_figures_of_nnunet(json.loads((tmp_path / "theirs.json").read_text()), tmp_path)
