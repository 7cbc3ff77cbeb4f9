"""A private training from the command line's words to a checkpoint: it counts, ends in time, and resumes."""

import json

import pytest
import torch

from segpipe.training.callbacks import read_history
from segpipe.training.checkpoints.files import read_checkpoint
from segpipe.training.privacy.account import Account
from tests.support.runs import fit_words, saved_step, saved_weights

PRIVATE = ["privacy=dp", "training.clip_norm=null", "privacy.noise_multiplier=2.0", "privacy.epsilon=null"]


@pytest.fixture
def words(tiny_words):
    return [*tiny_words, *PRIVATE, "scheduler=constant", "trainer.max_steps=6", "training.validate_every=3"]


def test_what_is_spent_is_logged_and_saved(words, tmp_path):
    fit_words(words, tmp_path)
    known = read_checkpoint(tmp_path / "checkpoints" / "last.ckpt")["segpipe"]["privacy"]
    delta, rate = 0.1 / 7, 2 / 7
    assert known["history"] == [[2.0, rate, 6]]
    assert (known["patients"], known["delta"], known["unit"]) == (7, delta, "patient")
    assert known["epsilon"] == Account(delta, [(2.0, rate, 6)]).epsilon
    points = [point for point in read_history(tmp_path) if "privacy/epsilon" in point]
    assert [point["privacy/epsilon"] for point in points] == pytest.approx(
        [Account(delta, [(2.0, rate, steps)]).epsilon for steps in (3, 6)]
    )
    assert all(point["privacy/noise_multiplier"] == 2 for point in points)
    assert all(0 <= point["train/clipped_patients"] <= 1 for point in points)
    json.dumps(known)


@pytest.mark.slow
@pytest.mark.parametrize(
    "more", [[], ["training.ema=null", "optimizer=schedule_free", "privacy.patches_per_patient=2"]]
)
def test_a_resumed_run_goes_on_counting_and_has_the_same_bits(words, tmp_path, more):
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    seeded = [*words, "privacy.randomness=seed", *more]
    fit_words(seeded, whole)
    fit_words([*seeded, "trainer.max_steps=4"], resumed)
    fit_words([*seeded, "resume=true"], resumed)
    one, other = saved_weights(whole), saved_weights(resumed)
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert read_checkpoint(resumed / "checkpoints" / "last.ckpt")["segpipe"]["privacy"]["history"] == [[2.0, 2 / 7, 6]]


@pytest.mark.slow
def test_without_a_seed_no_two_runs_are_alike(words, tmp_path):
    for name in ("one", "other"):
        fit_words([*words, "trainer.max_steps=1"], tmp_path / name)
    one, other = saved_weights(tmp_path / "one"), saved_weights(tmp_path / "other")
    assert not all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.slow
def test_a_training_ends_before_it_exceeds_its_bound_and_a_resumed_one_takes_no_step(words, tmp_path, caplog):
    """Four steps of noise 2 at a rate of 2/7 spend 0.90, five 0.96."""
    bound = (Account(0.1 / 7, [(2.0, 2 / 7, 4)]).epsilon + Account(0.1 / 7, [(2.0, 2 / 7, 5)]).epsilon) / 2
    bounded = [*words, f"privacy.epsilon={bound}"]
    fit_words(bounded, tmp_path)
    assert saved_step(tmp_path) == 4
    assert "privacy: the training ends after step 4, the next would exceed ε" in caplog.text
    fit_words([*bounded, "resume=true"], tmp_path)
    assert saved_step(tmp_path) == 4
    assert read_checkpoint(tmp_path / "checkpoints" / "last.ckpt")["segpipe"]["privacy"]["epsilon"] <= bound


@pytest.mark.slow
@pytest.mark.parametrize(
    "more",
    [
        ["trainer.precision=bf16-mixed", "optimizer=muon", "finetune=head", "scheduler=plateau"],
        ["optimizer=soap", "loss=dice_ce_voi", "trainer.workers=1", "training.batch_size=1"],  # some steps are empty
    ],
)
def test_it_goes_with_precisions_optimizers_schedules_and_frozen_stages(words, tmp_path, more):
    fit_words([*words, *more], tmp_path)
    assert saved_step(tmp_path) == 6
