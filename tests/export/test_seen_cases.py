"""A model lists its cases so that whoever has one can ask, and so that the list itself says nothing."""

import hashlib
import hmac
import json

import pytest

from segpipe.errors import ModelError
from segpipe.export.export_spec import CARD, INDEX
from segpipe.export.model_folder import read_model_folder
from segpipe.export.seen_cases import SEEN, SeenCases, describe_seen, make_group, seen_by, seen_together
from segpipe.export.writing import checksum
from tests.samples.small_models import FACTS, write_small

A, B, C, D = (hashlib.sha256(name.encode()).hexdigest() for name in "abcd")
CASES = {"train": [A, B], "val": [C], "test": [D]}


def test_a_tag_by_hand(monkeypatch):
    monkeypatch.setattr("secrets.token_hex", lambda size: "0b" * size)
    expected = hmac.digest(b"\x0b" * 32, bytes.fromhex(C), "sha256")[:16].hex()
    assert make_group(CASES)["val"] == [expected]


def test_roles_are_found_by_the_digest_alone():
    seen = SeenCases([make_group(CASES)])
    assert [seen.role_of(digest) for digest in (A, B, C, D, "00" * 32)] == ["train", "train", "val", "test", None]
    assert seen.count([A, B, C, "00" * 32, None]) == {"train": 2, "val": 1, "test": 0, "of": 5}


def test_two_lists_of_the_same_cases_have_nothing_in_common_and_no_order():
    one, other = (make_group({"train": [hashlib.sha256(bytes([k])).hexdigest() for k in range(50)]}) for _ in range(2))
    assert not set(one["train"]) & set(other["train"])
    assert one["train"] == sorted(one["train"])
    assert one["salt"] != other["salt"]


def test_cases_that_are_alike_are_listed_once():
    assert len(make_group({"train": [A, A, B]})["train"]) == 2


def test_of_several_trainings_the_role_that_weighs_most_counts():
    seen = SeenCases([make_group({"test": [A], "train": [B]}), make_group({"train": [A], "val": [D]})])
    assert [seen.role_of(digest) for digest in (A, B, C, D)] == ["train", "train", None, "val"]


def test_an_ensemble_has_seen_what_its_members_have_and_nothing_is_said_where_one_does_not_know():
    members = [{SEEN: [make_group({"train": [A]})]}, {SEEN: [make_group({"train": [B]}), make_group({"val": [C]})]}]
    seen = SeenCases(seen_together(members)[SEEN])
    assert [seen.role_of(digest) for digest in (A, B, C, D)] == ["train", "train", "val", None]
    assert seen_together([*members, {}]) == {}
    assert seen_together([]) == {}


def test_a_model_that_lists_no_cases_says_why():
    with pytest.raises(ModelError, match="does not list the cases") as caught:
        seen_by({"segpipe_version": "0.0.9"})
    assert caught.value.facts == {"made by": "segpipe 0.0.9"}
    with pytest.raises(ModelError, match="does not list the cases") as caught:
        seen_by({"privacy": {"epsilon": 8}})
    assert "differential privacy" in caught.value.facts["trained with"]


def test_counts_in_words():
    assert describe_seen({"train": 0, "val": 0, "test": 0, "of": 3}) == "0 of 3 cases were seen by the model"
    words = "2 of 3 cases were seen by the model: 1 trained on, 1 held out"
    assert describe_seen({"train": 1, "val": 0, "test": 1, "of": 3}) == words


def test_a_model_folder_carries_the_list_and_its_card_says_how_to_ask(tmp_path, without_onnx):
    folder = write_small(tmp_path / "model", about={**FACTS, SEEN: [make_group(CASES)]})
    seen = seen_by(read_model_folder(folder.path).about)
    assert [seen.role_of(digest) for digest in (A, C, D)] == ["train", "val", "test"]
    card = (folder.path / CARD).read_text()
    assert "python -m segpipe seen --model MODEL --input SCAN" in card
    assert folder.about[SEEN][0]["salt"] not in card


@pytest.mark.parametrize(
    ("name", "value"), [("salt", "00"), ("train", ["x"]), ("val", None), ("train", ["0" * 31]), ("more", 1)]
)
def test_a_garbled_list_is_refused(tmp_path, without_onnx, name, value):
    folder = write_small(tmp_path / "model", about={**FACTS, SEEN: [make_group(CASES)]}).path
    index = json.loads((folder / INDEX).read_text())
    index["facts"][SEEN][0][name] = value
    (folder / INDEX).write_text(json.dumps({**index, "checksum": checksum(index)}))
    with pytest.raises(ModelError, match=f"{INDEX} is not valid"):
        read_model_folder(folder)
