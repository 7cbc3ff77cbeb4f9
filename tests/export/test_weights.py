"""Weights as safetensors: the same bytes in every process, read by the library itself."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load

from segpipe.export.weights import weights_as_bytes

STATE = {"b.weight": torch.arange(6.0).reshape(2, 3), "a": torch.ones(2, dtype=torch.float16), "n": torch.tensor(7)}
METADATA = {"segpipe_version": "1", "format": "pt", "recipe_digest": "0123", "höhe": "é", "a": "b", "z": "y"}


def test_the_bytes_by_hand():
    entries = '"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'
    header = f'{{"__metadata__":{{"a":"1","b":"2"}},{entries}}}'  # 87 bytes, filled up to 88
    found = weights_as_bytes({"a": torch.tensor([1.0])}, {"b": "2", "a": "1"})
    assert found == (88).to_bytes(8, "little") + header.encode() + b" " + b"\0\0\x80\x3f"


def test_the_library_reads_what_was_written(tmp_path):
    file = tmp_path / "a.safetensors"
    file.write_bytes(weights_as_bytes(STATE, METADATA))
    for name, tensor in load(file.read_bytes()).items():
        torch.testing.assert_close(tensor, STATE[name], rtol=0, atol=0)
    with safe_open(file, "pt") as opened:
        assert opened.metadata() == METADATA


@pytest.mark.parametrize("name", ["a", "ab", "abc", "abcd", "abcde", "abcdef", "abcdefg", "é"])
def test_tensors_begin_at_a_multiple_of_eight(name):
    content = weights_as_bytes({name: torch.tensor([2.5])}, {})
    assert int.from_bytes(content[:8], "little") % 8 == 0
    assert load(content)[name].item() == 2.5


def test_metadata_come_in_the_order_of_their_names():
    """The library hashes them with another seed for each file: six names have 720 orders."""
    content = weights_as_bytes(STATE, METADATA)
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    assert list(header["__metadata__"]) == sorted(METADATA)
    assert content == weights_as_bytes(dict(reversed(STATE.items())), dict(reversed(METADATA.items())))


def test_tensors_that_share_memory_are_written_under_each_name():
    shared = torch.arange(4.0)
    read = load(weights_as_bytes({"a": shared, "b": shared.reshape(2, 2).T}, {}))
    assert read["a"].tolist() == [0, 1, 2, 3]
    assert read["b"].tolist() == [[0, 2], [1, 3]]
