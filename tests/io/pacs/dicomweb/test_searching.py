"""What a PACS lists is read for what is right in it; odd entries cost themselves, odd pages cost one search."""

import gzip
import json

import pytest

from segpipe.io.pacs.dicomweb import searching
from segpipe.io.pacs.dicomweb.pacs import Pacs, SeriesEntry
from segpipe.io.pacs.dicomweb.searching import PAGE
from segpipe.io.pacs.errors import PacsFaultError
from tests.peers.fake_pacs import COUNT, SERIES, STUDY, entry


def test_a_pacs_that_knows_no_filter(pacs):
    pacs.content = json.dumps([entry("1.2", "3.4"), entry("1.2", "3.5"), entry("1.3", "3.6")]).encode()
    found = Pacs(pacs.dicomweb)
    assert [one.series_uid for one in found.find_in_study("1.2")] == ["3.4", "3.5"]
    assert [one.series_uid for one in found.find_in_study("1.2", "3.5")] == ["3.5"]


ODD = {
    "a count beyond 2^31": entry(count=2**63),
    "a count of a thousand digits": entry(count=10**1000),
    "a negative count": entry(count=-1),
    "a count that is no number": entry(count=float("nan")),
    "an infinite count": entry(count=float("inf")),
    "half a count": entry(count=1.5),
    "a yes": entry(count=True),
    "words for a count": entry(count="seven"),
    "a list in a list": entry(count=[7]),
    "no UID": entry(series="a/b"),
    "a path": entry(series=".."),
    "a long UID": entry(series="1." * 40 + "1"),
    "a number for a UID": entry(series=3.4),
    "half a character": entry(series="\ud800"),
    "half a character in a text": entry(t00180015="\ud800"),
    "lines": entry(t00180015="CHEST\nERROR"),
    "a long text": entry(t00180015="A" * 65),
    "a text that is none": entry(t00180015={"Alphabetic": "A"}),
    "no study": {SERIES: {"vr": "UI", "Value": ["3.4"]}},
    "no series": {STUDY: {"vr": "UI", "Value": ["3.4"]}},
    "a bare value": {**entry(), SERIES: "3.4"},
    "values that are no list": {**entry(), COUNT: {"vr": "IS", "Value": {"a": 1}}},
    "an array": [[]],
    "nothing": None,
    "a text": "3.4",
    "a number": 7,
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_an_odd_entry_costs_itself(pacs, caplog, odd):
    pacs.content = json.dumps([entry(series="1.1"), odd, entry(series="2.2", count=7)]).encode()
    asked = Pacs(pacs.dicomweb)
    for _ in range(2):
        assert [one.series_uid for one in asked.find_ct()] == ["1.1", "2.2"]
    (said,) = caplog.messages
    assert said == "1 of the entries that the PACS lists are left out: they are not as DICOM has them"


def test_values_that_are_said_in_other_words(pacs):
    attributes = {"vr": "XX", "Value": ["7"]}, {"Value": [" CHEST "]}, {"vr": "CS"}, {"vr": "CS", "Value": []}
    count, body, modality, study = attributes
    pacs.content = b"\xef\xbb\xbf " + json.dumps(
        [{**entry(series="3.4\0"), COUNT: count, "00180015": body, "00080060": modality, STUDY: study}]
    ).encode().replace(b",", b" ,\n")
    assert Pacs(pacs.dicomweb).find_in_study("1.2") == [SeriesEntry("1.2", "3.4", 7, "CHEST", "")]


@pytest.mark.parametrize(
    "content",
    [
        b"<html>a portal</html>",
        b'{"a": 1}',
        b"null",
        b"[{}, {}",
        b"[{} {}]",
        b'[{"a": "\xff"}]',
        b"[" * 10**5,
        b'[{"a": ' * 10**4,
        b'[{"a": "' + b"b" * 3 * 2**20 + b'"}]',
    ],
    ids=lambda content: content[:12],
)
def test_an_odd_page_costs_one_search(pacs, content):
    asked = Pacs(pacs.dicomweb)
    pacs.content = content
    with pytest.raises(PacsFaultError, match=r"not DICOMweb|more than is taken") as caught:
        asked.find_ct()
    assert "aaa" not in str(caught.value)
    pacs.content = b""
    assert asked.find_ct() == []


def test_what_is_compressed_is_not_expanded(pacs):
    pacs.content, pacs.headers = gzip.compress(b"[" + b" " * 10**7 + b"]"), {"Content-Encoding": "gzip"}
    with pytest.raises(PacsFaultError, match="not DICOMweb"):
        Pacs(pacs.dicomweb).find_ct()


def paged(total, pages=True):
    """Answers with the page that is asked for, or always the first one."""

    def respond(method, path, body):
        offset = int(path.split("offset=")[1].split("&")[0]) if pages else 0
        found = [entry(series=f"1.{number}") for number in range(offset, min(offset + PAGE, total))]
        return 200, json.dumps(found).encode(), {}

    return respond


def test_pages(pacs):
    for total, asked in ((PAGE - 1, 1), (PAGE, 2), (2 * PAGE + 1, 3)):
        pacs.respond, pacs.asked = paged(total), []
        assert len(Pacs(pacs.dicomweb).find_ct()) == total
        assert len(pacs.asked) == asked


def test_a_pacs_that_knows_no_pages(pacs):
    pacs.respond = paged(PAGE, pages=False)
    assert len(Pacs(pacs.dicomweb).find_ct()) == PAGE
    assert len(pacs.asked) == 2


def test_pages_without_end(pacs, monkeypatch):
    monkeypatch.setattr(searching, "SEARCH_ENTRIES", 3 * PAGE)
    pacs.respond = paged(10**9)
    with pytest.raises(PacsFaultError, match="the PACS gives more than is taken") as caught:
        Pacs(pacs.dicomweb).find_ct()
    assert "1500 entries in a list" in str(caught.value)


def test_series_are_read_from_the_answer(pacs):
    other = {**entry(series="5.6"), STUDY: {"vr": "UI"}}
    pacs.content = json.dumps([entry(count=7, t00180015="CHEST", t00080060="CT"), other]).encode()
    assert Pacs(pacs.dicomweb).find_ct(days=0) == [SeriesEntry("1.2", "3.4", 7, "CHEST")]
    ((_, path, _),) = pacs.asked
    assert "Modality=CT" in path
    assert "StudyDate=" in path
    assert "3.4" not in repr(SeriesEntry("1.2", "3.4"))
