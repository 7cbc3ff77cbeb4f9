"""Whatever happens, in whatever order: nothing acknowledged is lost, no state of a series is answered twice."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from segpipe.io.pacs.errors import ForbiddenError, PacsAwayError, PacsFaultError
from segpipe.io.pacs.names import instance_name
from tests.serving.fakes import Archive, Killed, Picky, Service, images, uids

SERIES, MOST = ("1", "2"), 8
IN_MEMORY = Path("/dev/shm")
REQUESTS = ("find_ct", "list_instances", "has", "fetch", "store", "stored")
series = st.sampled_from(SERIES)
some = st.sets(st.integers(0, MOST - 1), min_size=1)
places = st.tuples(st.sampled_from(REQUESTS), st.integers(0, 3))


class Serving(RuleBasedStateMachine):
    """A scanner that sends, a PACS that grows and fails, and a worker that is killed."""

    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(dir=IN_MEMORY if IN_MEMORY.is_dir() else None)
        self.state = Path(self.folder.name) / "state"
        self.archive, self.model, self.service = Archive(), "m", None
        self.acknowledged = {uid: set() for uid in SERIES}
        self.is_quiet = False
        self.start()

    def start(self, **policy):
        if self.service is not None:
            self.service.close()
        self.is_quiet = False
        answers = Picky(model=self.model)
        self.service = Service(self.archive, self.state, answers, model=self.model, poll_s=0.0, **policy)

    def send(self, uid, numbers):
        self.service.receive("s", uid, numbers)
        self.acknowledged[uid] |= numbers
        self.is_quiet = False

    @rule(uid=series, numbers=some)
    def scanner_sends(self, uid, numbers):
        self.send(uid, numbers)

    @rule(uid=series, count=st.integers(1, MOST))
    def pacs_grows(self, uid, count):
        self.archive.grow("s", uid, max(count, len(self.archive.held.get(uid, ()))))
        self.is_quiet = False

    @rule(uid=series, numbers=some, request=st.sampled_from(REQUESTS))
    def scanner_sends_during_work(self, uid, numbers, request):
        self.archive.during[request] = lambda: self.send(uid, numbers)

    @rule(place=places, error=st.sampled_from([PacsFaultError, PacsAwayError, ForbiddenError, RuntimeError]))
    def pacs_will_fail(self, place, error):
        request, later = place
        if request != "find_ct":  # ends a single pass
            self.archive.failures[request] = [None] * later + [error("…")]

    @rule(place=places)
    def worker_dies(self, place):
        request, later = place
        self.archive.failures[request] = [None] * later + [Killed()]
        try:
            self.service.run()
        except Killed:
            self.start()
        self.archive.failures.pop(request, None)

    @rule(model=st.sampled_from(["m", "n"]))
    def another_model_is_served(self, model):
        self.model = model
        self.start()

    @rule()
    def a_day_passes(self):
        self.start(keep_s=0.0)

    @rule()
    def worker_works(self):
        self.is_quiet = True
        self.service.run()

    @invariant()
    @precondition(lambda self: self.is_quiet)
    def what_is_done_is_answered_whole(self):
        queue = self.service.queue
        assert queue.open_series() == set()
        done = {item.series_uid for item in queue._select("state='done' AND model=?", self.model)}
        for uid in done:
            assert self.is_answered(self.archive.held.get(uid, set()), self.model)
            assert self.is_answered({f"{uid}.{number}" for number in self.acknowledged[uid]})
        kept = sum(bool(queue.acknowledged(uid)) for uid in set(SERIES) - done)
        assert len({file.parent for file in images(self.state)}) <= kept

    def is_answered(self, instances, model=""):
        """Whether one report, of a model if it is named, speaks of all of these instances."""
        reports = [(uid, text) for uid, text in self.archive.stored.items() if uid.startswith("sr")]
        spoken_of = [set(text.split("\n")[0].split()) for uid, text in reports if uid.endswith(model)]
        return any(set(map(instance_name, instances)) <= names for names in spoken_of)

    def teardown(self):
        """In the end everything is there, and nothing fails any more."""
        self.archive.failures.clear()
        self.archive.during.clear()
        for uid in SERIES:
            self.archive.grow("s", uid, MOST)
            self.service.receive("s", uid, range(MOST))
        assert self.service.run()["done"] == len(SERIES)
        for uid in SERIES:
            assert self.is_answered(uids(uid, MOST), self.model)
        assert images(self.state) == []
        self.service.close()
        self.folder.cleanup()


@pytest.fixture(autouse=True, scope="module")
def quick():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("segpipe.serving.policy.FIRST_DELAY_S", 0.0)
        yield


TestPromises = Serving.TestCase
TestPromises.settings = settings(
    max_examples=20, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck)
)
