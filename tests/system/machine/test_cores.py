"""Cores: those of the affinity, or fewer where a control group grants fewer."""

from math import inf

import pytest

from segpipe.system.machine import cores as module
from segpipe.system.machine.cores import available_cores, granted_cores
from tests.system.machine.groups import control_groups


@pytest.mark.parametrize(("affinity", "expected"), [(True, 3), (False, 8)])
def test_cores_are_those_this_process_may_use(monkeypatch, affinity, expected):
    monkeypatch.setattr(module.os, "cpu_count", lambda: 8)
    monkeypatch.delattr(module.os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(module, "granted_cores", lambda: inf)
    if affinity:
        monkeypatch.setattr(module.os, "sched_getaffinity", lambda pid: {1, 2, 5}, raising=False)
    assert available_cores() == expected


@pytest.mark.parametrize(("granted", "expected"), [(inf, 8), (16.0, 8), (2.5, 2), (1.0, 1), (0.25, 1)])
def test_a_share_of_a_core_is_no_core_but_there_is_always_one(monkeypatch, granted, expected):
    monkeypatch.setattr(module, "affine_cores", lambda: 8)
    monkeypatch.setattr(module, "granted_cores", lambda: granted)
    assert available_cores() == expected


def grant(tmp_path, own, files):
    return granted_cores(*control_groups(tmp_path, own, files))


def test_version_2_reads_the_quota_of_the_own_group(tmp_path):
    assert grant(tmp_path, "0::/job\n", {"job/cpu.max": "250000 100000\n"}) == 2.5


@pytest.mark.parametrize(
    ("inner", "outer", "expected"), [("max", "200000", 2), ("300000", "max", 3), ("50000", "400000", 0.5)]
)
def test_the_narrowest_of_nested_groups_counts(tmp_path, inner, outer, expected):
    files = {"pod/job/cpu.max": f"{inner} 100000\n", "pod/cpu.max": f"{outer} 100000\n", "cpu.stat": "usage_usec 1\n"}
    assert grant(tmp_path, "0::/pod/job\n", files) == expected


def test_a_container_that_does_not_see_its_group_by_name_reads_the_one_that_it_sees(tmp_path):
    assert grant(tmp_path, "0::/system.slice/docker-1f.scope\n", {"cpu.max": "400000 100000\n"}) == 4


@pytest.mark.parametrize("controllers", ["cpu", "cpu,cpuacct"])
def test_version_1_reads_quota_and_period(tmp_path, controllers):
    own = f"9:name=systemd:/\n4:memory:/job\n3:cpuset:/job\n1:{controllers}:/job\n0::/\n"
    files = {f"{controllers}/job/cpu.cfs_quota_us": "300000\n", f"{controllers}/job/cpu.cfs_period_us": "200000\n"}
    assert grant(tmp_path, own, files) == 1.5


def test_version_1_without_a_limit_grants_all(tmp_path):
    files = {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}
    assert grant(tmp_path, "1:cpu:/\n", files) == inf


def test_a_machine_without_control_groups_grants_all(tmp_path):
    assert granted_cores(tmp_path / "own", tmp_path) == inf
    assert grant(tmp_path, "0::/\n", {"cpu.max": "of another kind\n"}) == inf
