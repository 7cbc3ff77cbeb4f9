"""The PACS on a bad day does to a request what its plan says, the same for the same seed."""

import json

import pytest
import requests

from tests.peers.faulty_pacs import FAULTS, ODD_ENTRIES, ROOT, STATUSES, FaultyPacs, QuietHandler, SeededPlan, served

ENTRIES = [{"0020000D": {"vr": "UI", "Value": ["9.8"]}}]
RECEIVED = []


class _Pacs(QuietHandler):
    def respond(self, body):
        RECEIVED.append(body)
        self.answer(200, json.dumps(ENTRIES).encode(), Content_Type="application/dicom+json")


@pytest.fixture(scope="module")
def pacs():
    server, base = served(_Pacs)
    front = FaultyPacs(base)
    yield front
    front.stop()
    server.shutdown()
    server.server_close()


def ask(pacs, fault, verb="GET"):
    pacs.plan = lambda verb, path: fault
    return requests.request(verb, f"{pacs.dicomweb}/series", data=b"a", allow_redirects=False, timeout=10)


def test_what_is_spoilt(pacs):
    for verb in ("GET", "POST"):
        for fault in (None, "slow"):
            assert ask(pacs, fault, verb).json() == ENTRIES
        for status in STATUSES:
            assert ask(pacs, status, verb).status_code == int(status)
        with pytest.raises(requests.RequestException):
            ask(pacs, "cut", verb)
    RECEIVED.clear()
    with pytest.raises(requests.RequestException):
        ask(pacs, "unheard", "POST")
    assert RECEIVED == [b"a"]
    assert ask(pacs, "no room", "POST").json()["00081198"]["Value"][0]["00081197"]["Value"] == [0xA700]
    assert ask(pacs, "odd json").text.count("{") in [1 + 1 + entry.count("{") for entry in ODD_ENTRIES]
    assert pacs.spoilt["404"] == 2


def test_redirects(pacs):
    here, away = ask(pacs, "307 here"), ask(pacs, "308 away", "POST")
    assert (here.status_code, here.headers["Location"]) == (307, f"{ROOT}/series")
    assert away.status_code == 308
    requests.post(away.headers["Location"], data=b"secret", timeout=10)
    assert [(one.verb, one.path, one.body) for one in pacs.leaked] == [("POST", f"{ROOT}/series", b"secret")]


def test_a_plan_is_the_same_for_the_same_seed():
    first, second, other = ([plan("GET", "/") for _ in range(300)] for plan in map(SeededPlan, (1, 1, 2)))
    assert first == second != other
    assert 30 < sum(map(bool, first)) < 90
    assert set(first) - {None} <= set(FAULTS) - {"no room", "unheard"}


def test_no_more_than_so_many_requests_are_spoilt_in_a_row():
    plan = SeededPlan(0, share=1, faults=["404"], in_a_row=2)
    assert [plan("GET", "/") for _ in range(6)] == ["404", "404", None, "404", "404", None]
