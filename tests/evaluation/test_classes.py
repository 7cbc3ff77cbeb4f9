"""Several classes: each by its own figures, all together as one foreground, and both as nnU-Net has them."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from segpipe.evaluation.classes import evaluate_label_maps
from segpipe.evaluation.evaluate import evaluate_pair, summarise, write_evaluation
from segpipe.evaluation.text_summary import describe
from segpipe.geometry import Grid
from segpipe.labels import LabelMap
from tests.evaluation.two_classes import GRID, IGNORE, digest_of_cases, two_class_cases

SMALL = Grid((10, 10, 10), np.diag([1.0, 1.0, 1.0, 1.0]))
SOLID_AND_GLASS = LabelMap.build({1: "solid", 2: "ground_glass"})
NODULE_AND_CORE = LabelMap.build({1: "rim", 2: "core"}, regions={"nodule": [1, 2], "solid_core": [2]})


def label_map(*blocks):
    """A label map with blocks (x, y, z, edge, value), the later over the earlier."""
    mask = np.zeros(SMALL.shape, dtype=np.uint8)
    for x, y, z, edge, value in blocks:
        mask[x : x + edge, y : y + edge, z : z + edge] = value
    return mask


def evaluated(prediction, reference, labels, **more):
    return evaluate_label_maps("a", "p", (prediction, reference), SMALL, labels=labels, **more)


def test_a_lesion_of_the_wrong_class_is_found_by_all_together_and_by_neither_class():
    result = evaluated(label_map((2, 2, 2, 3, 2)), label_map((2, 2, 2, 3, 1)), SOLID_AND_GLASS)
    assert result.figures["dice"] == pytest.approx(1.0)
    assert (result.true_positives, result.false_positives, result.false_negatives) == (1, 0, 0)
    solid, glass = result.classes["solid"], result.classes["ground_glass"]
    assert (solid.figures["dice"], solid.empty, solid.false_negatives) == (0.0, "prediction", 1)
    assert (glass.figures["dice"], glass.empty, glass.false_positives) == (None, "reference", 1)


def test_a_region_includes_the_regions_inside_it():
    """Nodule of 4³ voxels with a core of 2³; of the prediction the core alone is shifted, by a voxel."""
    reference = label_map((3, 3, 3, 4, 1), (4, 4, 4, 2, 2))
    prediction = label_map((3, 3, 3, 4, 1), (5, 4, 4, 2, 2))
    result = evaluated(prediction, reference, NODULE_AND_CORE)
    assert result.classes["nodule"].figures["dice"] == pytest.approx(1.0)
    assert result.classes["nodule"].reference_mm3 == 64
    assert result.classes["solid_core"].figures["dice"] == pytest.approx(0.5)
    assert result.figures["dice"] == pytest.approx(1.0)


def test_what_the_reference_ignores_counts_on_neither_side():
    labels = LabelMap.build({1: "solid", 2: "ground_glass"}, ignore=9)
    reference = label_map((0, 0, 0, 5, 9), (6, 6, 6, 3, 1))
    prediction = label_map((1, 1, 1, 3, 1), (6, 6, 6, 3, 1))
    result = evaluated(prediction, reference, labels)
    assert result.classes["solid"].figures["dice"] == pytest.approx(1.0)
    assert (result.classes["solid"].false_positives, result.classes["ground_glass"].empty) == (0, "both")
    assert result.predicted_mm3 == 27


def test_one_class_is_what_a_pair_of_masks_is():
    prediction, reference = label_map((2, 2, 2, 4, 1)), label_map((3, 2, 2, 4, 1))
    one = evaluated(prediction, reference, LabelMap.of("nodule"))
    assert one == evaluate_pair("a", "p", prediction, reference, SMALL)
    assert "classes" not in summarise([one])


def test_confidences_are_those_of_the_class_and_all_together_their_sum():
    prediction = reference = label_map((2, 2, 2, 2, 1), (6, 6, 6, 2, 2))
    probability = [np.where(prediction == value, high, 0.1) for value, high in ((1, 0.6), (2, 0.8))]
    result = evaluated(prediction, reference, SOLID_AND_GLASS, probability=probability)
    assert result.classes["solid"].candidates[0].probability == pytest.approx(0.6)
    assert result.classes["ground_glass"].candidates[0].probability == pytest.approx(0.8)
    assert sorted(candidate.probability for candidate in result.candidates) == pytest.approx([0.7, 0.9])
    nested = evaluated(prediction, reference, NODULE_AND_CORE, probability=probability)
    assert sorted(candidate.probability for candidate in nested.candidates) == pytest.approx([0.1, 0.6])


def test_summary_tables_and_text_have_a_part_for_each_class(tmp_path):
    hit = evaluated(label_map((2, 2, 2, 3, 1)), label_map((2, 2, 2, 3, 1)), SOLID_AND_GLASS)
    wrong = evaluated(label_map((2, 2, 2, 3, 1)), label_map((2, 2, 2, 3, 2)), SOLID_AND_GLASS)
    summary = summarise([hit, wrong])
    assert summary["metrics"]["dice"]["mean"] == pytest.approx(1.0)
    assert summary["classes"]["solid"]["metrics"]["dice"]["mean"] == pytest.approx(1.0)  # undefined in the second case
    assert summary["classes"]["ground_glass"]["metrics"]["dice"]["mean"] == 0.0
    assert summary["class_means"]["dice"] == pytest.approx(0.5)
    assert summary["classes"]["solid"]["lesions"]["fp"] == 1
    write_evaluation(tmp_path, [hit, wrong], summary)
    rows = {
        name: list(csv.DictReader((tmp_path / f"{name}.csv").read_text().splitlines()))
        for name in ("classes", "lesions")
    }
    assert [(row["class"], row["empty"]) for row in rows["classes"]] == [
        ("solid", "no"), ("ground_glass", "both"), ("solid", "reference"), ("ground_glass", "prediction"),
    ]  # fmt: skip
    assert [(row["class"], row["kind"]) for row in rows["lesions"]] == [
        ("solid", "reference"), ("solid", "prediction"), ("ground_glass", "reference"),
    ]  # fmt: skip
    lines = describe(summary).splitlines()
    table = [line.split() for line in lines[[line.startswith("by class") for line in lines].index(True) + 1 :]]
    assert table[0][:2] == ["solid", "1.000"]
    assert table[0][-3:] == ["1", "0", "1"]
    assert table[1][:2] == ["ground_glass", "0.000"]


@pytest.mark.parametrize(
    ("task", "labels"),
    [
        ("exclusive", LabelMap.build({1: "solid", 2: "ground_glass"}, ignore=IGNORE)),
        (
            "regions",
            LabelMap.build({1: "rim", 2: "core"}, regions={"nodule": [1, 2], "solid_core": [2]}, ignore=IGNORE),
        ),
    ],
)
def test_figures_of_each_class_are_those_of_nnunet(task, labels):
    recorded = json.loads(Path(__file__).with_name("nnunet_two_classes.json").read_text())
    assert recorded["provenance"]["sha256_of_masks"] == digest_of_cases()
    theirs = recorded["tasks"][task]
    results = [evaluate_label_maps(name, name, pair, GRID, labels=labels) for name, *pair in two_class_cases()]
    for result, case in zip(results, theirs["metric_per_case"], strict=True):
        for own, figures in zip(result.classes.values(), case["metrics"].values(), strict=True):
            assert own.figures["dice"] == pytest.approx(figures["Dice"], abs=1e-9)
            assert own.figures["iou"] == pytest.approx(figures["IoU"], abs=1e-9)
            assert own.reference_mm3 / GRID.voxel_volume_mm3 == pytest.approx(figures["n_ref"])
            assert own.predicted_mm3 / GRID.voxel_volume_mm3 == pytest.approx(figures["n_pred"])
    summary = summarise(results)
    for own, figures in zip(summary["classes"].values(), theirs["mean"].values(), strict=True):
        assert own["metrics"]["dice"]["mean"] == pytest.approx(figures["Dice"], abs=1e-9)
    assert summary["class_means"]["dice"] == pytest.approx(theirs["foreground_mean"]["Dice"], abs=1e-9)
    assert summary["class_means"]["iou"] == pytest.approx(theirs["foreground_mean"]["IoU"], abs=1e-9)
