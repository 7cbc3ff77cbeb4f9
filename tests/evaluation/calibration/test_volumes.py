"""Intervals of volume: the weighted quantile by pencil, and coverage of patients that were not used to fit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segpipe.evaluation.calibration.findings import EvaluatedFindings
from segpipe.evaluation.calibration.volumes import (
    COVERAGE,
    FEWEST_PATIENTS,
    choose_classes,
    class_of,
    fit_volume,
    patient_quantile,
)


def findings(volume, reference, patients):
    zero = np.zeros(len(volume))
    return EvaluatedFindings(zero, zero, np.asarray(volume, float), np.asarray(reference, float), list(patients))


def names(count):
    return np.array([f"p{number}" for number in range(count)])


def test_a_patient_of_one_nodule_each_is_plain_split_conformal():
    """Of 19 patients the 95 % quantile is the largest of their scores: ⌈0.95 · 20⌉ = 19; of 18 there is none."""
    assert patient_quantile(np.arange(1.0, 20.0), names(19), 0.95) == 19
    assert patient_quantile(np.arange(1.0, 19.0), names(18), 0.95) == np.inf
    assert patient_quantile(np.arange(1.0, 20.0), names(19), 0.9) == 18


def test_the_nodules_of_a_patient_weigh_one_together():
    """Weights of 1/4 for a and b, 1/8 for each of c's two: 0.25, 0.5, 0.625, 0.75."""
    scores, patients = np.array([1.0, 2.0, 3.0, 4.0]), np.array(["a", "b", "c", "c"])
    assert [patient_quantile(scores, patients, level) for level in (0.25, 0.5, 0.6, 0.7, 0.76)] == [1, 2, 3, 4, np.inf]


@given(st.permutations(range(30)))
def test_the_order_does_not_count(order):
    scores, patients = np.arange(30.0), np.repeat(names(10), 3)
    order = np.array(order)
    assert patient_quantile(scores[order], patients[order], 0.8) == patient_quantile(scores, patients, 0.8)


def test_classes_that_are_too_small_join_their_neighbours():
    few, many = FEWEST_PATIENTS - 1, FEWEST_PATIENTS
    volumes = np.concatenate([np.full(many, 50.0), np.full(few, 200.0), np.full(many, 500.0), np.full(few, 3000.0)])
    assert choose_classes(volumes, names(len(volumes))) == [0.0, 113.0]
    assert choose_classes(volumes[:few], names(few)) == []
    assert class_of(np.array([112.9, 113.0, 5000.0]), [0.0, 113.0]).tolist() == [0, 1, 1]


def test_too_few_patients_give_no_interval():
    assert fit_volume(findings([100.0] * 400, [100.0] * 400, ["one"] * 400)) is None


def test_a_finding_that_matches_no_lesion_says_nothing():
    volume, reference = np.full(100, 100.0), np.where(np.arange(100) < 60, 120.0, np.nan)
    (own,) = fit_volume(findings(volume, reference, names(100)))["classes"]
    assert (own["findings"], own["patients"]) == (60, 60)
    assert (own["low"], own["high"]) == pytest.approx((1.2, 1.2))


def test_new_patients_are_covered_as_stated():
    """Patients differ, and their nodules are alike: an interval of nodules would be too sure of itself."""
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(60):
        counts = rng.integers(1, 6, 120)
        patients = np.repeat(names(120), counts)
        own = np.repeat(rng.normal(0, 0.3, 120), counts)
        found = rng.uniform(50, 110, len(own))
        reference = found * np.exp(own + rng.normal(0, 0.05, len(own)))
        known, new = np.isin(patients, names(80)), ~np.isin(patients, names(80))
        (fitted,) = fit_volume(findings(found[known], reference[known], patients[known]))["classes"]
        ratio = reference[new] / found[new]
        inside = (ratio >= fitted["low"]) & (ratio <= fitted["high"])
        covered += [inside[patients[new] == one].mean() for one in np.unique(patients[new])]
    assert len(covered) == 60 * 40
    assert COVERAGE - 0.02 <= np.mean(covered) <= COVERAGE + 0.05
