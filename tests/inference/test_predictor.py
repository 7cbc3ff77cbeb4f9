"""A scan through the whole prediction with an engine that a pencil can follow."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from segpipe.case import Case
from segpipe.errors import ConfigError, GeometryError, ImageError, ModelError
from segpipe.geometry import Grid, to_voxel
from segpipe.inference.operating_point import OperatingPoint
from segpipe.inference.options import MOST_FINDINGS, PredictOptions
from segpipe.inference.predictor import predict_case
from segpipe.preprocessing.recipe import Recipe
from segpipe.preprocessing.resampling import apply_window, plan_preparation, resample_to_recipe, resample_to_scan

RECIPE = Recipe("test", (1.0, 1.0, 1.5), (-1000.0, 400.0), (32, 32, 16))
VOI = Recipe("test", (1.0, 1.0, 1.5), (-1000.0, 400.0), (32, 32, 16), scope="voi")
DIVISOR = (16, 16, 8)
AFFINES = {
    "RAS": np.diag([0.8, 0.8, 2.5, 1.0]),
    "LPS": np.diag([-0.8, -0.8, 2.5, 1.0]),
    "SLA, tilted": np.array([[0, -0.79, 0.1, 3], [0.2, 0, 0.8, 9], [2.5, 0.1, 0, 100], [0, 0, 0, 1]]),
}


class Bright:
    """Calls everything above −440 HU foreground, softly."""

    name = "bright"

    def __init__(self):
        self.calls = 0

    def __call__(self, patches_bcxyz):
        self.calls += len(patches_bcxyz)
        return torch.sigmoid((patches_bcxyz - 0.4) * 20)


def two_boxes(affine, shape=(70, 60, 30)):
    """10×12×6 voxels around (24.5, 25.5, 10.5) and 4×4×3 around (51.5, 51.5, 21) in air."""
    image = np.full(shape, -1000, np.int16)
    image[20:30, 20:32, 8:14] = 40
    image[50:54, 50:54, 20:23] = 40
    return Case("boxes", image, Grid(shape, affine))


@pytest.mark.parametrize("name", AFFINES)
def test_sliding_equals_one_pass_over_the_whole_scan(name):
    boxes = two_boxes(AFFINES[name])
    noise = np.random.default_rng(0).integers(-30, 30, boxes.image.shape).astype(np.int16)
    case = Case("noisy", boxes.image + noise, boxes.grid)
    prediction = predict_case(case, RECIPE, Bright(), PredictOptions(overlap=0.4), divisor=DIVISOR)
    preparation = plan_preparation(case.grid, RECIPE)
    whole = Bright()(apply_window(resample_to_recipe(case.image, preparation), RECIPE))
    expected = resample_to_scan(whole, preparation).numpy()
    np.testing.assert_allclose(prediction.probability, expected, atol=1e-4)
    np.testing.assert_array_equal(prediction.mask, prediction.probability >= 0.5)


@pytest.mark.parametrize("name", AFFINES)
def test_findings_lie_where_the_boxes_are(name):
    case = two_boxes(AFFINES[name])
    large, small = predict_case(case, RECIPE, Bright(), PredictOptions(), divisor=DIVISOR).findings
    np.testing.assert_allclose(to_voxel(case.grid.affine, large.centre_mm), [24.5, 25.5, 10.5], atol=0.3)
    np.testing.assert_allclose(to_voxel(case.grid.affine, small.centre_mm), [51.5, 51.5, 21.0], atol=0.3)
    assert large.volume_mm3 > small.volume_mm3
    assert 0.5 <= small.mean_probability <= small.max_probability < 1


def test_confidence_is_the_mean_over_the_voxels_of_each_lesion():
    prediction = predict_case(two_boxes(AFFINES["SLA, tilted"]), RECIPE, Bright(), PredictOptions(), divisor=DIVISOR)
    probability = prediction.probability
    near, far = (prediction.mask[:40] > 0), (prediction.mask[40:] > 0)
    assert prediction.findings[0].mean_probability == pytest.approx(probability[:40][near].mean(), rel=1e-5)
    assert prediction.findings[1].mean_probability == pytest.approx(probability[40:][far].mean(), rel=1e-5)
    assert prediction.findings[1].max_probability == pytest.approx(probability[40:][far].max())


def test_without_the_probability_volume_mask_and_findings_are_the_same():
    case = two_boxes(AFFINES["LPS"])
    kept = predict_case(case, RECIPE, Bright(), PredictOptions(), divisor=DIVISOR)
    lean = predict_case(case, RECIPE, Bright(), PredictOptions(keep_probability=False), divisor=DIVISOR)
    assert lean.probability is None
    assert lean.findings == kept.findings
    np.testing.assert_array_equal(lean.mask, kept.mask)


def test_what_is_not_measured_has_the_same_mask():
    case = two_boxes(AFFINES["LPS"])
    measured = predict_case(case, RECIPE, Bright(), PredictOptions(), divisor=DIVISOR)
    drawn = predict_case(case, RECIPE, Bright(), PredictOptions(measure=False), divisor=DIVISOR)
    assert len(measured.findings) == 2
    assert drawn.findings == []
    np.testing.assert_array_equal(drawn.mask, measured.mask)
    np.testing.assert_array_equal(drawn.probability, measured.probability)


def test_the_entropy_is_that_of_the_probability_and_changes_nothing_else():
    case = two_boxes(AFFINES["SLA, tilted"])
    plain = predict_case(case, RECIPE, Bright(), PredictOptions(), divisor=DIVISOR)
    lean = PredictOptions(keep_probability=False, uncertainty="flips")
    unsure = predict_case(case, RECIPE, Bright(), lean, divisor=DIVISOR)
    assert plain.uncertainty is None
    assert [replace(finding, uncertainty=None) for finding in unsure.findings] == plain.findings
    np.testing.assert_array_equal(unsure.mask, plain.mask)
    p = plain.probability.astype(float).clip(1e-12, 1 - 1e-12)
    bits = -p * np.log2(p) - (1 - p) * np.log2(1 - p)
    np.testing.assert_allclose(unsure.uncertainty.entropy / 250, bits, atol=0.006)
    assert unsure.uncertainty.entropy.max() > 200  # somewhere on an edge both answers are nearly as likely
    assert not unsure.uncertainty.information.any()  # it says the same of every mirrored view
    first = unsure.findings[0].uncertainty
    near = unsure.mask[:40] > 0
    assert first.entropy_bits == pytest.approx(bits[:40][near].mean(), abs=0.003)
    assert first.mutual_information_bits == 0


def test_small_lesions_are_removed():
    case = two_boxes(AFFINES["RAS"])
    options = PredictOptions(min_volume_mm3=200.0)
    prediction = predict_case(case, RECIPE, Bright(), options, divisor=DIVISOR)
    assert [finding.number for finding in prediction.findings] == [1]
    assert prediction.mask[50:54, 50:54, 20:23].max() == 0
    assert prediction.mask[24, 25, 10] == 1


def test_the_point_chooses_the_lesion():
    case = two_boxes(AFFINES["LPS"])
    point = (-51.5 * 0.8, -51.5 * 0.8, 21 * 2.5)
    for recipe in (RECIPE, VOI):
        prediction = predict_case(case, recipe, Bright(), PredictOptions(), divisor=DIVISOR, at_mm=point)
        (finding,) = prediction.findings
        np.testing.assert_allclose(finding.centre_mm, point, atol=0.6)
        assert prediction.mask[:40].max() == 0


def test_a_voi_is_one_forward_pass():
    engine = Bright()
    predict_case(two_boxes(AFFINES["LPS"]), VOI, engine, PredictOptions(), divisor=DIVISOR, at_mm=(-20.0, -20.0, 26.0))
    assert engine.calls == 1


def test_a_crop_needs_no_point():
    case = two_boxes(AFFINES["RAS"])
    crop = Case("crop", case.image[10:40, 10:40, 8:12], Grid((30, 30, 4), case.grid.affine))
    engine = Bright()
    prediction = predict_case(crop, VOI, engine, PredictOptions(), divisor=DIVISOR)
    assert engine.calls == 1
    assert prediction.mask.sum() == 10 * 12 * 4
    assert prediction.probability.shape == (30, 30, 4)


def test_nothing_found_is_an_empty_mask():
    case = two_boxes(AFFINES["RAS"])
    prediction = predict_case(case, RECIPE, Bright(), PredictOptions(threshold=0.9999999), divisor=DIVISOR)
    assert prediction.findings == []
    assert not prediction.mask.any()


@pytest.mark.parametrize("flips", [(0,), (1, 2), (0, 1, 2)])
def test_flips_do_not_change_an_engine_without_direction(flips):
    case, engine = two_boxes(AFFINES["RAS"]), Bright()
    plain = predict_case(case, RECIPE, Bright(), PredictOptions(), divisor=DIVISOR)
    flipped = predict_case(case, RECIPE, engine, PredictOptions(flips=flips), divisor=DIVISOR)
    np.testing.assert_allclose(flipped.probability, plain.probability, atol=1e-6)
    assert engine.calls % 2 ** len(flips) == 0


def test_flips_average_a_ramp_away():
    class Ramp(Bright):
        def __call__(self, patches_bcxyz):
            return torch.linspace(0.2, 0.6, patches_bcxyz.shape[2])[None, None, :, None, None].expand_as(patches_bcxyz)

    case = two_boxes(AFFINES["RAS"])
    crop = Case("crop", case.image[10:40, 10:40, 8:12], Grid((30, 30, 4), case.grid.affine))
    prediction = predict_case(crop, VOI, Ramp(), PredictOptions(flips=(0,)), divisor=DIVISOR)
    np.testing.assert_allclose(prediction.probability, 0.4, atol=1e-6)


def test_a_point_outside_the_scan_is_refused():
    with pytest.raises(GeometryError, match="the point must lie in the scan") as caught:
        predict_case(
            two_boxes(AFFINES["RAS"]), VOI, Bright(), PredictOptions(), divisor=DIVISOR, at_mm=(-40.0, 20.0, 20.0)
        )
    assert caught.value.facts == {
        "point": "-40, 20, 20",
        "scan": "x 0.0…55.2, y 0.0…47.2, z 0.0…72.5 mm (RAS+)",
    }


def test_a_voi_model_on_a_whole_scan_needs_a_point():
    large, whole = ((84, 80, 49), (140, 140, 60))  # 13 and 47 windows of 32×32×24 mm
    rng = np.random.default_rng(0)
    crop, scan = (Case("scan", rng.normal(size=shape), Grid(shape, np.eye(4))) for shape in (large, whole))
    assert predict_case(crop, VOI, Bright(), PredictOptions(), divisor=DIVISOR).mask.shape == large
    with pytest.raises(ImageError, match="a whole scan needs that point"):
        predict_case(scan, VOI, Bright(), PredictOptions(), divisor=DIVISOR)


@pytest.mark.parametrize(
    "wrong",
    [{"overlap": 1.0}, {"flips": (3,)}, {"flips": (1, 1)}, {"threshold": 0.0}, {"min_volume_mm3": -1.0}, {"batch": 0}],
)
def test_options_out_of_range_are_refused(wrong):
    with pytest.raises(ConfigError, match=f"^{next(iter(wrong))} must be"):
        PredictOptions(**wrong)


def test_a_scan_full_of_findings_is_refused_before_they_are_measured():
    case = two_boxes(AFFINES["RAS"])
    with pytest.raises(ModelError, match="at most 1 findings") as refused:
        predict_case(case, RECIPE, Bright(), PredictOptions(most_findings=1), divisor=DIVISOR)
    assert refused.value.facts["found"] == "2"
    assert "--min-volume" in refused.value.hint
    assert len(predict_case(case, RECIPE, Bright(), PredictOptions(most_findings=2), divisor=DIVISOR).findings) == 2


def test_only_what_readers_get_is_limited():
    assert PredictOptions().most_findings is None
    assert PredictOptions.at(OperatingPoint(0.5, 0.0, 0.0)).most_findings == MOST_FINDINGS
