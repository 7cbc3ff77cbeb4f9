"""Roles are given by patient, are a function of the seed, and never leave a role without anything to find."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from segpipe.datasets.manifest import Entry, Manifest
from segpipe.datasets.splits import assign_roles
from segpipe.errors import ConfigError, DatasetError
from segpipe.geometry import Grid
from segpipe.io.images.volumes import write_volume


def _entry(case, patient, *, lesions=1, split=None):
    return Entry(case, patient, Path("image.nii"), Path("mask.nii"), split, {"lesions": lesions})


def _manifest(patients, **options):
    entries = [_entry(f"c{i}", patient, **options) for i, patient in enumerate(patients)]
    return Manifest("test", "nifti", tuple(entries), {1: "nodule"})


def _patients(manifest, role):
    return {entry.patient for entry in manifest.entries if entry.split == role}


def test_a_fold_holds_every_nth_shuffled_patient():
    manifest = _manifest([f"p{i}" for i in range(6)])
    order = [f"p{i}" for i in np.random.default_rng(3).permutation(6)]
    split = assign_roles(manifest, fold=1, folds=3, seed=3)
    assert _patients(split, "test") == {order[1], order[4]}
    assert _patients(split, "train") == set(order) - {order[1], order[4]}
    assert _patients(split, "val") == set()


@given(cases=st.lists(st.integers(0, 30), min_size=5, max_size=80), folds=st.integers(2, 5), seed=st.integers(0, 99))
def test_folds_partition_the_patients_and_keep_each_together(cases, folds, seed):
    manifest = _manifest([f"p{i}" for i in cases])
    assume(len(set(cases)) >= folds)
    held_out = []
    for fold in range(folds):
        split = assign_roles(manifest, fold=fold, folds=folds, seed=seed)
        assert not _patients(split, "test") & _patients(split, "train")
        assert [entry.id for entry in split.entries] == [entry.id for entry in manifest.entries]
        held_out += sorted(_patients(split, "test"))
    assert sorted(held_out) == sorted({f"p{i}" for i in cases})


def test_fewer_patients_than_folds_are_refused():
    with pytest.raises(DatasetError, match="at least as many patients as folds"):
        assign_roles(_manifest(["a", "b", "a"]), fold=0, folds=3, seed=0)


@given(patients=st.integers(3, 200), seed=st.integers(0, 99))
def test_fractions_reach_every_role_by_patient(patients, seed):
    manifest = _manifest([f"p{i // 2}" for i in range(2 * patients)])
    split = assign_roles(manifest, seed=seed)
    sizes = {role: len(_patients(split, role)) for role in ("train", "val", "test")}
    assert sum(sizes.values()) == patients
    assert min(sizes.values()) >= 1
    assert abs(sizes["test"] - 0.2 * patients) <= 1
    assert abs(sizes["val"] - 0.1 * patients) <= 1


def test_ten_patients_split_seven_one_two():
    split = assign_roles(_manifest([f"p{i}" for i in range(10)]))
    assert [len(_patients(split, role)) for role in ("train", "val", "test")] == [7, 1, 2]


def test_the_split_depends_on_patients_and_seed_alone():
    names = [f"p{i}" for i in range(20)]
    forwards, backwards = assign_roles(_manifest(names), seed=5), assign_roles(_manifest(names[::-1]), seed=5)
    assert _patients(forwards, "test") == _patients(backwards, "test")
    assert _patients(forwards, "test") != _patients(assign_roles(_manifest(names), seed=6), "test")


def test_a_fraction_of_zero_leaves_the_role_out():
    split = assign_roles(_manifest(["a", "b", "c", "d"]), fractions=(0.5, 0.0, 0.5))
    assert [len(_patients(split, role)) for role in ("train", "val", "test")] == [2, 0, 2]


def _fixed(splits, patients=None):
    entries = [_entry(f"c{i}", (patients or "abcdef")[i], split=split) for i, split in enumerate(splits)]
    return Manifest("test", "nnunet", tuple(entries), {1: "nodule"})


def test_a_split_of_the_data_set_is_kept_unless_a_fold_is_asked_for():
    manifest = _fixed(["train", "test", "val", "train"])
    assert assign_roles(manifest).entries == manifest.entries
    assert _patients(assign_roles(manifest, fold=0, folds=2), "val") == set()


def test_a_half_fixed_split_is_reported():
    with pytest.raises(DatasetError, match=r"all cases have a split or none[\s\S]*1 of 3: c2"):
        assign_roles(_fixed(["train", "test", None]))


def test_a_patient_on_both_sides_is_reported():
    with pytest.raises(DatasetError, match=r"one split[\s\S]*1: b"):
        assign_roles(_fixed(["train", "test", "train"], patients="abb"))


def test_an_empty_data_set_is_reported():
    with pytest.raises(DatasetError, match="empty"):
        assign_roles(_manifest([]))


@pytest.mark.parametrize(("fold", "folds"), [(5, 5), (-1, 5), (0, 1)])
def test_a_fold_that_is_none_is_reported(fold, folds):
    with pytest.raises(ConfigError, match=r"one of the folds[\s\S]*allowed"):
        assign_roles(_manifest("abcdef"), fold=fold, folds=folds)


@pytest.mark.parametrize("fractions", [(0.5, 0.1, 0.1), (1.2, -0.2, 0.0)])
def test_fractions_that_do_not_add_up_are_reported(fractions):
    with pytest.raises(ConfigError, match="add up to 1"):
        assign_roles(_manifest("abcdef"), fractions=fractions)


def test_too_few_patients_for_the_roles_are_reported():
    with pytest.raises(DatasetError, match=r"a patient for each role[\s\S]*train, val, test"):
        assign_roles(_manifest("ab"))


def test_a_data_set_without_a_test_case_is_reported():
    with pytest.raises(DatasetError, match=r"each role must have a case[\s\S]*test"):
        assign_roles(_fixed(["train", "train"]))


def test_a_fold_without_any_lesion_is_reported():
    entries = [_entry(f"c{i}", f"p{i}", lesions=int(i == 0)) for i in range(4)]
    manifest = Manifest("test", "nifti", tuple(entries), {1: "nodule"})
    with pytest.raises(DatasetError, match=r"must have a lesion[\s\S]*lesions +0"):
        assign_roles(manifest, fold=0, folds=2)


def _on_disk(folder, foregrounds):
    entries = []
    for i, foreground in enumerate(foregrounds):
        mask = np.zeros((3, 3, 3), np.uint8)
        mask[1, 1, 1] = foreground
        file = write_volume(folder / f"{i}.nii.gz", mask, Grid((3, 3, 3), np.eye(4)))
        entries.append(Entry(f"c{i}", f"p{i}", file, file))
    return Manifest("test", "nifti", tuple(entries), {1: "nodule"})


def test_lesions_are_looked_up_in_the_masks_when_nothing_states_their_number(tmp_path):
    assert len(assign_roles(_on_disk(tmp_path, [1, 1, 1, 1]), fold=0, folds=2).entries) == 4
    with pytest.raises(DatasetError, match="must have a lesion"):
        assign_roles(_on_disk(tmp_path, [1, 0, 0, 0]), fold=0, folds=2)


def test_one_damaged_mask_does_not_hide_the_lesions_of_others(tmp_path):
    manifest = _on_disk(tmp_path, [1, 1, 1, 1, 1, 1])
    manifest.entries[0].mask.write_bytes(b"damaged")
    assert len(_patients(assign_roles(manifest, fold=0, folds=2), "test")) == 3
