"""A PACS that answers anything: odd entries cost themselves, other answers are read or refused; nobody is quoted."""

import json
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segpipe.io.pacs.address import UID
from segpipe.io.pacs.dicomweb.pacs import Pacs
from tests.fuzz.mutations import apply, edits, fuzz, little_memory, read_or_refuse
from tests.peers.fake_pacs import SERIES, FakePacs, entry, gives, multipart
from tests.peers.faulty_pacs import no_room
from tests.samples.synthetic_dicom import ct_slices, thorax

RIGHT = [entry(series=f"1.2.{number}", count=number, t00180015="CHEST", t00080060="CT") for number in range(3)]
_numbers = st.one_of(st.integers(), st.integers(2**31 - 2, 2**65), st.floats(), st.sampled_from([10**40, 1e308, -0.0]))
_texts = st.text(st.characters(), max_size=70) | st.sampled_from(["\ud800", "1.2", "..", "1.2/3", "7", "-7", "9" * 30])
_plain = st.one_of(st.none(), st.booleans(), _numbers, _texts)
anything = st.recursive(
    _plain,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["vr", "Value", *RIGHT[0]]) | _texts, inner, max_size=3),
    ),
    max_leaves=8,
)


@pytest.fixture
def pacs():
    started = FakePacs().start()
    yield started
    started.stop()


def odd_entries(value, tag):
    """The value as an entry, as an attribute, as its values and as the first of them."""
    return [value] + [{**RIGHT[1], tag: shown} for shown in (value, {"Value": value}, {"Value": [value]})]


def test_an_odd_entry_costs_itself(pacs, capfd):
    asked = Pacs(pacs.dicomweb)

    @fuzz(1.0)
    @given(anything, st.sampled_from(sorted(RIGHT[0])), st.integers(0, 3))
    def check(value, tag, place):
        odd = odd_entries(value, tag)[place]
        pacs.content = json.dumps([RIGHT[0], odd, RIGHT[2]]).encode()
        found = asked.find_ct()
        assert [one.series_uid for one in found if one.series_uid in ("1.2.0", "1.2.2")] == ["1.2.0", "1.2.2"]
        check_typed(found)

    check()
    assert "".join(capfd.readouterr()) == ""


def check_typed(found):
    """What goes on to queue and log is plain."""
    for one in found:
        assert UID.fullmatch(one.study_uid)
        assert UID.fullmatch(one.series_uid)
        assert one.instances is None or (type(one.instances) is int and 0 <= one.instances < 2**31)
        assert (one.body_part + one.modality).isascii()
        assert (one.body_part + one.modality).isprintable()


def test_mutated_lists(pacs, capfd):
    asked = Pacs(pacs.dicomweb)
    valid = json.dumps(RIGHT).encode()

    @fuzz(1.0)
    @given(edits())
    def check(changes):
        pacs.content = apply(changes, valid)
        check_typed(read_or_refuse(asked.find_ct) or [])
        assert len(read_or_refuse(lambda: asked.list_instances("1.2", "3.4")) or []) <= len(RIGHT) + 4

    with little_memory():
        check()
    assert "".join(capfd.readouterr()) == ""


def test_nesting_of_any_depth(pacs):
    asked = Pacs(pacs.dicomweb)

    @fuzz(0.1)
    @given(st.integers(0, 10**5), st.sampled_from([b"[", b'{"a":', b'[{"Value":']), st.booleans())
    def check(depth, opening, inside):
        nested = opening * depth
        pacs.content = b'[{"%s": {"Value": %s' % (SERIES.encode(), nested) if inside else nested
        assert read_or_refuse(asked.find_ct) in (None, [])

    check()


def test_mutated_answers_to_a_result(pacs, tmp_path, capfd):
    dataset = ct_slices(thorax())[0]
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    asked = Pacs(pacs.dicomweb)

    @fuzz(0.5)
    @given(st.one_of(anything.map(lambda value: json.dumps(value).encode()), edits()), st.sampled_from([200, 202, 409]))
    def check(answer, status):
        content = apply(answer, json.dumps(no_room()).encode()) if isinstance(answer, list) else answer
        pacs.respond = lambda method, path, body: (status, content, {}) if method == "POST" else (200, b"[]", {})
        read_or_refuse(lambda: asked.store("1.2", [tmp_path / "a.dcm"]))

    with little_memory():
        check()
    assert "".join(capfd.readouterr()) == ""


def test_mutated_series(pacs, tmp_path, capfd):
    files = []
    for dataset in ct_slices(thorax((4, 4, 2))):
        dataset.SeriesInstanceUID = "3.4"
        dataset.save_as(stream := BytesIO(), enforce_file_format=True)
        files.append(stream.getvalue())
    asked = Pacs(pacs.dicomweb)
    valid = multipart(files)

    @fuzz(0.5)
    @given(edits())
    def check(changes):
        content = apply(changes, valid)
        right = gives("3.4", files)
        pacs.respond = lambda method, path, body: (
            right(method, path, body) if "?" in path else (200, content, right(method, path, body)[2])
        )
        count = read_or_refuse(lambda: asked.fetch("1.2", "3.4", folder=tmp_path / "series"))
        assert count in (None, 2)

    with little_memory():
        check()
    assert "".join(capfd.readouterr()) == ""
