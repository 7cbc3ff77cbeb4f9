"""Patients are drawn independently of each other, and a patient's patches depend on that patient alone."""

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from segpipe.preprocessing.augmentation import build_augmentation
from segpipe.preprocessing.sampling import Sampling
from segpipe.training.data.patients import PatientPatches, PoissonSampler, group_cases
from tests.samples.prepared_cases import augmentation_spec, make_recipe, make_scan, prepare
from tests.training.privacy.plans import make_plan

LESIONS = [[((5, 5, 5), 2), ((20, 20, 10), 6)], [((12, 9, 8), 10)], []]


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    scans = [make_scan(lesions=lesions, seed=number) for number, lesions in enumerate(LESIONS)]
    return prepare(tmp_path_factory.mktemp("patients"), scans, make_recipe())


def make_patches(patients):
    sampling = Sampling(lesion_fraction=0.7, shift=0.3, size_balance=1.0)
    augmentation = build_augmentation(augmentation_spec("light"))
    return PatientPatches(patients, make_recipe(), sampling=sampling, augmentation=augmentation, seed=3)


def drawn(steps, **plan):
    """Whether each patient is in each step."""
    table = np.zeros((steps, 10), dtype=bool)
    for step, draws in enumerate(PoissonSampler(make_plan(**plan), steps)):
        for patient, _ in draws:
            table[step, patient] = True
    return table


def test_each_patient_is_drawn_with_the_stated_probability_and_independently():
    table = drawn(4000)  # rate 0.3
    assert table.mean(0) == pytest.approx(0.3, abs=0.03)  # four standard deviations
    together = np.corrcoef(table.T.astype(float))
    assert np.abs(together - np.eye(10)).max() < 0.07
    in_turn = np.corrcoef(table[:-1].ravel().astype(float), table[1:].ravel().astype(float))
    assert abs(in_turn[0, 1]) < 0.02


def test_the_number_of_patients_in_a_step_is_binomial():
    from scipy.stats import binom

    sizes = np.bincount(drawn(4000).sum(1), minlength=11)
    expected = 4000 * binom.pmf(np.arange(11), 10, 0.3)
    few = expected < 5
    assert sizes[0] > 50  # of 113: steps of noise alone
    pooled = [np.append(counts[~few], counts[few].sum()) for counts in (sizes, expected)]
    assert chisquare(*pooled).pvalue > 0.01


def test_at_a_rate_of_one_all_are_drawn():
    assert drawn(5, patients_per_step=10).all()


def test_a_resumed_run_draws_what_it_would_have_drawn():
    plan = make_plan()
    whole, rest = list(PoissonSampler(plan, 20)), PoissonSampler(plan, 20, start_step=12)
    assert list(rest) == whole[12:]
    assert len(rest) == 20


def test_a_patients_patches_come_in_a_row_and_differ():
    sampler = PoissonSampler(make_plan(patches_per_patient=3, patients_per_step=10), 3)
    assert list(sampler)[2][:6] == [(0, 6), (0, 7), (0, 8), (1, 6), (1, 7), (1, 8)]


def test_patches_depend_on_no_other_patient(cases):
    first, second, third = cases
    here, there = make_patches([[first], [second]]), make_patches([[first], [third]])
    for index in range(10):
        one, other = here[0, index], there[0, index]
        assert torch.equal(one["image"], other["image"])
        assert torch.equal(one["label"], other["label"])
    assert len(here) == 2


def test_all_cases_of_a_patient_are_seen_and_patients_without_lesions_too(cases):
    first, second, third = cases
    patches = make_patches([[first, second], [third]])
    assert not patches[1, 0]["label"].any()
    images = [patches[0, index]["image"] for index in range(12)]
    assert len({float(image.sum()) for image in images}) == 12


def test_an_empty_batch_has_the_shape_of_a_full_one(cases):
    patches = make_patches([[case] for case in cases])
    full, empty = patches.collate([patches[0, 0], patches[1, 0]]), patches.collate([])
    for name in ("image", "label"):
        assert (empty[name].shape[1:], empty[name].dtype) == (full[name].shape[1:], full[name].dtype)
        assert len(empty[name]) == 0


def test_cases_are_grouped_by_patient():
    assert group_cases(["a", "b", "c"], ["p", "q", "p"]) == [["a", "c"], ["b"]]
