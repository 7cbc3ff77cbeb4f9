"""A PACS and a model of a few lines each, for tests of what goes on between them."""

import threading

from segpipe.errors import ImageError
from segpipe.io.pacs.dicomweb.pacs import SeriesEntry
from segpipe.io.pacs.names import instance_name, set_digest
from segpipe.io.pacs.receiving.receiver import Arrival
from segpipe.serving.policy import WorkerPolicy
from segpipe.serving.queue import Queue
from segpipe.serving.worker import Worker


class Killed(BaseException):
    """Ends the worker where it stands, as SIGKILL does."""


class Archive:
    """Lists, gives and stores.

    `failures` are raised at the next requests of a name, of which None lets one through; `during` is what happens
    meanwhile.
    """

    def __init__(self, *series):
        self.entries = {entry.series_uid: entry for entry in series}
        self.held = {entry.series_uid: set(uids(entry.series_uid, entry.instances or 0)) for entry in series}
        self.stored = {}
        self.failures = {}
        self.during = {}
        self.asked = []

    def grow(self, study_uid, series_uid, count):
        """From now on the series has so many instances."""
        self.entries[series_uid] = SeriesEntry(study_uid, series_uid, count)
        self.held[series_uid] = set(uids(series_uid, count))

    def find_ct(self, *, days=None):
        self._meet("find_ct")
        return [entry for entry in self.entries.values() if entry.modality == "CT"]

    def find_in_study(self, study_uid):
        self._meet("find_in_study")
        return [entry for entry in self.entries.values() if study_uid == entry.study_uid]

    def list_instances(self, study_uid, series_uid):
        self._meet("list_instances")
        return frozenset(map(instance_name, self.held.get(series_uid, ())))

    def fetch(self, study_uid, series_uid, *, folder):
        self._meet("fetch")
        write(folder, self.held[series_uid])
        return len(self.held[series_uid])

    def has(self, study_uid, instance_uid):
        self._meet("has")
        return instance_uid in self.stored

    def store(self, study_uid, files):
        for file in files:
            uid, _, content = file.read_text().partition("\n")
            if not self.has(study_uid, uid):
                self._meet("store")
                assert uid not in self.stored
                self.stored[uid] = content
                self._meet("stored")

    def answers(self):
        """Number of instances of each answer, sorted."""
        return sorted(
            len(content.split("\n")[0].split()) for uid, content in self.stored.items() if uid.startswith("sr")
        )

    def _meet(self, what):
        self.asked.append(what)
        self.during.pop(what, lambda: None)()
        waiting = self.failures.get(what)
        failure = waiting.pop(0) if waiting else None
        if failure is not None:
            raise failure


class Answers:
    """Answers with a segmentation and a report that names its instances; no two predictions are alike."""

    def __init__(self, error=None, *, model="m"):
        self.error, self.model, self.predictions = error, model, 0

    def answer(self, source, folder, *, instances, former=""):
        self.predictions += 1
        if self.error:
            raise self.error
        names = sorted(file.stem for file in source.glob("*.dcm"))
        assert set_digest(names) == instances
        segmentation = f"seg {instances} {self.model} {self.predictions}"
        files = [folder / "answer.seg.dcm", folder / "answer.sr.dcm"]
        files[0].write_text(segmentation)
        report = self.report_uid("", "", instances)
        files[1].write_text(f"{report}\n{' '.join(names)}\n{segmentation}\n{self.report_uid('', '', former)}")
        return files

    def report_uid(self, study_uid, series_uid, instances):
        return f"sr {instances} {self.model}"


class Picky(Answers):
    """Wants at least five slices, as the real one does."""

    def answer(self, source, folder, **given):
        if len(list(source.iterdir())) < 5:
            raise ImageError("no CT series found")
        return super().answer(source, folder, **given)


class Service:
    """A worker on a folder, as `serve` starts it."""

    def __init__(self, archive, state, answers=None, *, bound=100, model="m", **policy):
        state.mkdir(exist_ok=True)
        self.queue = Queue(state / "queue.sqlite", model=model, bound=bound)
        given = {"stable_s": 0.0, "poll_s": 0.01, **policy}
        self.worker = Worker(archive, answers or Answers(), self.queue, state, policy=WorkerPolicy(**given))
        self.worker.resume()

    def receive(self, study_uid, series_uid, numbers):
        """Instances of a series arrive, as the receiver gets them."""
        arrival, folder = Arrival(study_uid, series_uid), None
        for uid in uids(series_uid, max(numbers) + 1):
            if int(uid.rpartition(".")[2]) in numbers:
                folder = self.worker.folder_of(arrival)
                write(folder, [uid])
                assert self.worker.arrived(arrival, instance_name(uid))
        self.worker.finished([arrival])

    def run(self):
        """Works until nothing waits; returns the counts."""
        self.worker.run(threading.Event(), once=True)
        return self.queue.counts()

    def close(self):
        self.queue.close()


def work(archive, state, answers=None, **settings):
    """One pass of a worker; returns the counts."""
    service = Service(archive, state, answers, **settings)
    try:
        return service.run()
    finally:
        service.close()


def uids(series_uid, count):
    return [f"{series_uid}.{number}" for number in range(count)]


def write(folder, instances):
    folder.mkdir(parents=True, exist_ok=True)
    for uid in instances:
        (folder / f"{instance_name(uid)}.dcm").write_text(uid)


def images(state):
    """The images that a state folder holds."""
    return list(state.rglob("*.dcm"))
