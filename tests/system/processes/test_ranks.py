"""Processes that trained together share out items and gather what they found, in the order of the items."""

import os

import pytest
import torch.distributed as dist

from segpipe.errors import DatasetError
from segpipe.system.processes.ranks import Ranks, processes_part
from tests.support.ranks import run_ranks

ITEMS = ["a", "b", "c", "d", "e"]


def work(item: str) -> str | DatasetError:
    return DatasetError("a bad case", facts={"case": item}) if item == "b" else item.upper()


def refuse(ranks: Ranks) -> None:
    assert ranks.main
    raise DatasetError("a bad case")


def gather_all() -> None:
    """In each of two processes; `b` is the second one's."""
    with processes_part():
        dist.init_process_group("gloo")
        os.environ["NODE_RANK"] = "0"  # as Lightning does
        ranks = Ranks()
        own = ranks.own(ITEMS)
        assert own == ({0: "a", 2: "c", 4: "e"} if ranks.main else {1: "b", 3: "d"})
        found = ranks.gather({place: work(item) for place, item in own.items()})
        assert [str(outcome) for outcome in found] == ["A", str(work("b")), "C", "D", "E"]
        assert found[1].facts == {"case": "b"}
        assert ranks.agree(lambda: ranks.number) == 0
        with pytest.raises(DatasetError, match="a bad case"):
            ranks.agree(lambda: refuse(ranks))
    assert not dist.is_initialized()
    assert "NODE_RANK" not in os.environ
    assert os.environ["LOCAL_RANK"] == str(ranks.number)


def test_an_item_that_fails_in_one_process_costs_itself(tmp_path):
    run_ranks(gather_all, cwd=tmp_path, log=tmp_path)


def test_alone_all_items_are_ones_own():
    ranks = Ranks()
    assert (ranks.main, ranks.count) == (True, 1)
    assert ranks.gather({place: work(item) for place, item in ranks.own(ITEMS[2:]).items()}) == ["C", "D", "E"]
