"""Memory: the machine's, or less where a control group grants less."""

from math import inf

import pytest

from segpipe.system.machine import memory as module
from segpipe.system.machine.memory import available_memory, granted_memory
from tests.system.machine.groups import control_groups

GIB = 2**30


def grant(tmp_path, own, files):
    return granted_memory(*control_groups(tmp_path, own, files))


@pytest.mark.parametrize(("granted", "expected"), [(inf, 16 * GIB), (2.0 * GIB, 2 * GIB), (64.0 * GIB, 16 * GIB)])
def test_memory_is_what_both_the_machine_and_its_containers_have(monkeypatch, granted, expected):
    pages = {"SC_PHYS_PAGES": 4 * 2**20, "SC_PAGE_SIZE": 4096}  # 16 GiB
    monkeypatch.setattr(module.os, "sysconf", pages.__getitem__)
    monkeypatch.setattr(module, "granted_memory", lambda: granted)
    assert available_memory() == expected


@pytest.mark.parametrize(("inner", "outer", "expected"), [("max", "4096", 4096), ("1000", "max", 1000), ("9", "8", 8)])
def test_version_2_counts_the_narrowest_of_nested_groups(tmp_path, inner, outer, expected):
    files = {"pod/job/memory.max": f"{inner}\n", "pod/memory.max": f"{outer}\n", "memory.stat": "anon 1\n"}
    assert grant(tmp_path, "0::/pod/job\n", files) == expected


def test_version_1_reads_the_group_of_memory_alone(tmp_path):
    files = {"memory/job/memory.limit_in_bytes": "5000\n", "cpu/job/memory.limit_in_bytes": "1\n"}
    assert grant(tmp_path, "4:memory:/job\n1:cpu:/job\n0::/\n", files) == 5000


def test_a_container_that_does_not_see_its_group_by_name_reads_the_one_that_it_sees(tmp_path):
    assert grant(tmp_path, "0::/system.slice/docker-1f.scope\n", {"memory.max": "700\n"}) == 700


def test_a_machine_without_limits_grants_all(tmp_path):
    assert granted_memory(tmp_path / "own", tmp_path) == inf
    assert grant(tmp_path, "0::/\n", {"memory.max": "max\n"}) == inf
    assert grant(tmp_path, "0::/\n", {"memory.max": "of another kind\n"}) == inf
