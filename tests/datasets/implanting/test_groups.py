"""No patient is in two groups, and there are as many groups as there can be."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segpipe.datasets.implanting.groups import deal_groups, without_hosts_own
from segpipe.datasets.manifest import Entry, Manifest
from segpipe.errors import DatasetError
from segpipe.geometry import Grid
from segpipe.io.images.volumes import write_volume


def entries(kind, patients):
    return [Entry(f"{kind}{number}", f"{kind}{patient}", Path("x")) for number, patient in enumerate(patients)]


PATIENTS = st.lists(st.integers(0, 9), min_size=1, max_size=40)


@given(PATIENTS, PATIENTS, st.integers(0, 3))
def test_no_patient_is_in_two_groups(of_hosts, of_nodules, seed):
    hosts, nodules = entries("h", of_hosts), entries("n", of_nodules)
    groups = deal_groups(hosts, nodules, seed=seed)
    assert len(groups) == min(len(set(of_hosts)), len(set(of_nodules)))
    assert len({group.name for group in groups}) == len(groups)
    for kind, every in (("hosts", hosts), ("nodules", nodules)):
        dealt = [getattr(group, kind) for group in groups]
        assert all(dealt)
        assert sorted(entry.id for part in dealt for entry in part) == sorted(entry.id for entry in every)
        patients = [{entry.patient for entry in part} for part in dealt]
        assert sum(map(len, patients)) == len(set.union(*patients))
        sizes = [len(part) for part in patients]
        assert max(sizes) - min(sizes) <= 1


def test_two_hosts_make_two_groups_and_another_seed_deals_anew():
    hosts, nodules = entries("h", range(2)), entries("n", range(50))
    first, again, other = (deal_groups(hosts, nodules, seed=seed) for seed in (0, 0, 1))
    assert len(first) == 2
    assert first == again != other


@pytest.mark.parametrize(("hosts", "nodules"), [([], [1]), ([1], [])])
def test_without_hosts_or_nodules_there_is_nothing_to_do(hosts, nodules):
    with pytest.raises(DatasetError, match="there must be hosts and nodules"):
        deal_groups(entries("h", hosts), entries("n", nodules), seed=0)


def test_nodules_of_patients_who_are_hosts_are_left_out(tmp_path):
    spacing = np.diag([0.7, 0.7, 2.5, 1.0])
    scan = write_volume(tmp_path / "scan.nii.gz", np.zeros((40, 40, 20), np.int16), Grid((40, 40, 20), spacing))
    made = []
    for name, start in {"own": (10, 12, 5), "between": (10.5, 12, 5), "outside": (38, 12, 5)}.items():
        affine = spacing.copy()
        affine[:3, 3] = np.multiply(start, (0.7, 0.7, 2.5))
        file = write_volume(tmp_path / f"{name}.nii.gz", np.zeros((6, 6, 4), np.int16), Grid((6, 6, 4), affine))
        made.append(Entry(name, f"patient_{name}", file))
    made.append(replace(made[2], id="second", patient="patient_own"))
    made.append(Entry("damaged", "patient_damaged", Path(tmp_path / "none.nii.gz")))
    hosts = Manifest("hosts", "nifti", (Entry("host", "patient_1", scan),), {1: "nodule"})
    nodules = Manifest("nodules", "nifti", tuple(made), {1: "nodule"})
    kept = without_hosts_own(hosts, nodules)
    assert [entry.id for entry in kept] == ["between", "outside", "damaged"]
