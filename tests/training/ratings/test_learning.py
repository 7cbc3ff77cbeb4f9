"""Ratings are learnt from a table, calibrated on nodules held out, and never from those that are rated."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from segpipe.__main__ import main
from segpipe.cli.train import registries
from segpipe.config.compose import compose
from segpipe.datasets.manifest import Entry, Manifest
from segpipe.errors import ConfigError, DatasetError
from segpipe.inference.ratings.inputs import MEASUREMENTS
from segpipe.labels.ratings import RATING_SCALES
from segpipe.preprocessing.rating_crop import RatingCrop
from segpipe.training.ratings.calibration import calibrate, fit_calibration
from segpipe.training.ratings.cross_validation import RatedStudy, RatingStudy, fit_all
from segpipe.training.ratings.fitting import ordinal_loss
from segpipe.training.ratings.samples import MISSING, RatedSamples, read_samples
from segpipe.training.ratings.settings import RatingLayers, RatingSettings

CROP = RatingCrop(side=8, spacing_mm=2.0, window_hu=(-1000.0, 600.0), margin_mm=2.0)
SCALES = (RATING_SCALES["malignancy"], RATING_SCALES["calcification"])
PARTS = {
    "optimizer": {"name": "adamw", "lr": 3e-2, "weight_decay": 0.0, "betas": [0.9, 0.999], "eps": 1e-8},
    "scheduler": {"name": "constant", "warmup": 0.0},
}


def entry(root: Path, number: int, **ratings: float) -> Entry:
    image, mask = (root / kind / f"case_{number}.nii.gz" for kind in ("images", "masks"))
    return Entry(f"case_{number}", f"p{number}", image, mask, extra=ratings)


def manifest(*entries: Entry) -> Manifest:
    return Manifest("tiny", "nifti", entries, {1: "nodule"})


def study(levels: torch.Tensor, folds: np.ndarray) -> RatingStudy:
    """Nodules whose first measurement is their grade."""
    count = len(levels)
    measurements = torch.zeros(count, len(MEASUREMENTS))
    measurements[:, 0] = levels.float()
    names = [str(number) for number in range(count)]
    samples = RatedSamples(names, names, torch.zeros(count, 2, 8, 8, 8), measurements, levels[:, None].clone())
    layers = RatingLayers(channels=[], hidden=4, dropout=0.0)
    settings = RatingSettings(["malignancy"], CROP, layers, steps=60, batch_size=10)
    return RatingStudy(samples, folds, settings, MEASUREMENTS, PARTS, seed=0)


def test_samples_hold_the_grades_of_the_table(tiny_dataset):
    entries = [entry(tiny_dataset, 0, malignancy=5, calcification=6), entry(tiny_dataset, 1, malignancy=9)]
    samples = read_samples(manifest(*entries), SCALES, CROP)
    assert samples.levels_nr.tolist() == [[4, 0], [MISSING, MISSING]]
    assert samples.crops_n2xyz.shape == (2, 2, 8, 8, 8)
    ball_mm = np.exp(samples.measurements_nm[:, 0].numpy())
    assert ((ball_mm > 8) & (ball_mm < 14)).all()  # radii of 4 to 7 mm


def test_a_rating_that_no_case_has_is_a_mistake(tiny_dataset):
    with pytest.raises(DatasetError, match="the data set's table must hold each rating") as caught:
        read_samples(manifest(entry(tiny_dataset, 0, malignancy=5)), SCALES, CROP)
    assert caught.value.facts["missing"] == "calcification"


def test_every_bad_case_is_named(tiny_dataset):
    bad = replace(entry(tiny_dataset, 0, malignancy=5, calcification=6), mask=None)
    with pytest.raises(DatasetError, match="a rated case must have a nodule in its mask") as caught:
        read_samples(manifest(bad, entry(tiny_dataset, 1, malignancy=1, calcification=6)), SCALES, CROP)
    assert caught.value.facts["case"] == "case_0"


def test_the_loss_is_the_mean_over_known_grades_by_hand():
    probabilities = torch.tensor([[[0.5, 0.5]], [[0.25, 0.75]], [[0.9, 0.1]]])
    levels = torch.tensor([[0], [0], [MISSING]])
    assert ordinal_loss(probabilities, levels).item() == pytest.approx((np.log(2) + np.log(4)) / 2)


def test_calibration_by_hand():
    """Odds of 3 to 1 become 9 to 1, and 1 to 3 become 1 to 9."""
    stretched = calibrate(np.array([[0.25, 0.5, 0.25]]), 2.0)
    np.testing.assert_allclose(stretched, [[0.1, 0.8, 0.1]])


@pytest.mark.parametrize(("share", "factor"), [(0.9, 2.0), (0.75, 1.0), (0.634, 0.5)])
def test_the_fitted_calibration_makes_confidence_the_share_that_is_right(share, factor):
    """Always 3 to 1: with 9 of 10 right the odds are 9 to 1, the square; √3 to 1 is 0.634."""
    levels = (np.arange(1000) < 1000 * share).astype(np.int64)
    found = fit_calibration(np.tile([0.25, 0.75], (1000, 1)), levels)
    assert found == pytest.approx(factor, rel=0.01)


def test_ratings_are_learnt_out_of_fold():
    levels = torch.tensor([0, 1, 2, 3, 4] * 4)
    own = study(levels, np.arange(20) // 10)
    (calibrated,) = RatedStudy.of(own).calibrated
    np.testing.assert_allclose(calibrated.sum(axis=1), 1.0)
    assert (calibrated.argmax(axis=1) == levels.numpy()).mean() > 0.8


def test_what_is_rated_is_not_learnt_from():
    """Another grade of a nodule that is held out changes no rating of its fold, and those of the other one."""
    levels, folds = torch.tensor([0, 1, 2, 3, 4] * 2), np.arange(10) // 5
    other = levels.clone()
    other[0] = 4
    first, second = study(levels, folds), study(levels, folds)
    second.samples.levels_nr[:, 0] = other
    before, after = first.rate_out_of_fold(), second.rate_out_of_fold()
    np.testing.assert_array_equal(before[:5], after[:5])
    assert not np.array_equal(before[5:], after[5:])


def test_the_network_of_all_patients_carries_the_calibration():
    own = study(torch.tensor([0, 1, 2, 3, 4] * 2), np.arange(10) // 5)
    sure = np.full((10, 1, 5), 0.01)
    sure[np.arange(10), 0, own.samples.levels_nr[:, 0].numpy()] = 0.96
    network = fit_all(RatedStudy(own, sure, [], {}))
    assert network.calibration.item() > 1.5  # all right with 96 %: surer still


def test_weights_from_elsewhere_and_fine_tuning_are_refused_before_any_work(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["+experiment=lung_nodule_ratings", "data.root=/data/nodules"]
    assert main([*words, "init.from=lidc-ratings", "finetune=gradual", "finetune.layer_decay=0.8"]) == 2
    told = capsys.readouterr().err
    assert "init.from=lidc-ratings: a run of ratings begins with random weights" in told
    assert "finetune.name=gradual: a run of ratings begins with random weights" in told
    assert list(tmp_path.iterdir()) == []
    for word in ("finetune=head", "finetune.layer_decay=0.5", "init.from=runs/any"):
        with pytest.raises(ConfigError, match="has a mistake"):
            compose([*words, word], registries)
    assert compose([*words, "init.min_share=0.1"], registries).init["from"] is None
