"""The worker against a PACS of a few lines that can be away, refuse, or see the worker die after a store."""

import logging
import threading

import pytest

from segpipe.errors import ImageError, OutputError, ServiceError
from segpipe.io.pacs.dicomweb import SeriesEntry
from segpipe.io.pacs.errors import PacsAwayError, PacsFaultError, WrongPasswordError
from segpipe.io.pacs.receive import Arrival
from segpipe.serving.policy import LONGEST_DELAY_S, WorkerPolicy, back_off
from segpipe.serving.queue import Queue
from segpipe.serving.worker import Worker


class Killed(BaseException):
    """Ends the worker where it stands, as SIGKILL does."""


class Archive:
    def __init__(self, *series):
        self.series, self.stored = list(series), []
        self.away, self.die_after_store, self.error = 0, False, None

    def find_ct(self, *, days=None):
        return [entry for entry in self.series if entry.modality == "CT"]

    def find_in_study(self, study_uid):
        return [entry for entry in self.series if study_uid == entry.study_uid]

    def fetch(self, study_uid, series_uid, *, folder):
        if self.error:
            raise self.error
        if self.away:
            self.away -= 1
            raise PacsAwayError("the PACS does not answer")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "00001.dcm").write_text(series_uid)
        return 1

    def has(self, study_uid, instance_uid):
        return instance_uid in self.stored

    def store(self, study_uid, files):
        self.stored += [file.read_text() for file in files]
        if self.die_after_store:
            raise Killed


class Answers:
    error = None

    def answer(self, source, folder):
        if self.error:
            raise self.error
        series = (source / "00001.dcm").read_text()
        folder.mkdir(parents=True, exist_ok=True)
        files = [folder / "answer.seg.dcm", folder / "answer.sr.dcm"]
        for file, kind in zip(files, ("seg", "sr"), strict=True):
            file.write_text(f"{kind} {series}")
        return files

    def report_uid(self, study_uid, series_uid):
        return f"sr {series_uid}"

    def segmentation_uid(self, study_uid, series_uid):
        return f"seg {series_uid}"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("segpipe.serving.policy.FIRST_DELAY_S", 0.0)


def work(archive, state, answers=None, *, bound=100, **policy):
    state.mkdir(exist_ok=True)
    queue = Queue(state / "queue.sqlite", model="m", bound=bound)
    try:
        worker = Worker(archive, answers or Answers(), queue, state, policy=WorkerPolicy(0.0, 0.01, **policy))
        worker.run(threading.Event(), once=True)
        return queue.counts()
    finally:
        queue.close()


def test_every_series_gets_segmentation_and_report(tmp_path):
    archive = Archive(SeriesEntry("s1", "a", 9), SeriesEntry("s2", "b", 9))
    assert work(archive, tmp_path / "state")["done"] == 2
    assert sorted(archive.stored) == ["seg a", "seg b", "sr a", "sr b"]


def test_killed_between_store_and_bookkeeping_answers_once(tmp_path):
    archive = Archive(SeriesEntry("s1", "a", 9))
    archive.die_after_store = True
    with pytest.raises(Killed):
        work(archive, tmp_path / "state")
    archive.die_after_store = False
    assert work(archive, tmp_path / "state")["done"] == 1
    assert archive.stored == ["seg a", "sr a"]


def test_killed_between_segmentation_and_report_stores_the_report_alone(tmp_path):
    archive = Archive(SeriesEntry("s1", "a", 9))
    archive.stored = ["seg a"]
    work(archive, tmp_path / "state")
    assert archive.stored == ["seg a", "sr a"]


def test_a_lost_state_folder_answers_nothing_twice(tmp_path):
    archive = Archive(SeriesEntry("s1", "a", 9))
    work(archive, tmp_path / "state")
    work(archive, tmp_path / "other")
    assert archive.stored == ["seg a", "sr a"]


def test_an_absent_pacs_is_asked_again(tmp_path):
    archive = Archive(SeriesEntry("s1", "a", 9))
    archive.away = 3
    assert work(archive, tmp_path / "state")["done"] == 1


def test_a_bad_series_is_refused_and_the_others_are_answered(tmp_path, caplog):
    class Picky(Answers):
        def answer(self, source, folder):
            if (source / "00001.dcm").read_text() == "1.2.3":
                raise ImageError("no lungs in the scan")
            return super().answer(source, folder)

    archive = Archive(SeriesEntry("s1", "1.2.3", 9), SeriesEntry("s2", "b", 9))
    with caplog.at_level(logging.INFO, "segpipe.serve"):
        counts = work(archive, tmp_path / "state", Picky())
        assert work(archive, tmp_path / "state", Picky()) == counts
    assert (counts["done"], counts["refused"], counts["failed"]) == (1, 1, 0)
    assert caplog.text.count("no lungs in the scan") == 1
    assert "1.2.3" not in caplog.text
    assert not list((tmp_path / "state" / "fetched").iterdir())


def test_a_surprise_is_tried_five_times_and_its_text_never_told(tmp_path, caplog):
    answers = Answers()
    answers.error = RuntimeError("patient Secret")
    counts = work(Archive(SeriesEntry("s1", "a", 9)), tmp_path / "state", answers)
    assert counts["failed"] == 1
    assert "given up after 5 tries: RuntimeError" in caplog.text
    assert "Secret" not in caplog.text


def test_a_wrong_password_ends_the_worker_and_keeps_the_series(tmp_path):
    archive = Archive(SeriesEntry("s1", "a", 9))
    archive.error = WrongPasswordError("the PACS refuses user and password")
    with pytest.raises(ServiceError, match="refuses user and password"):
        work(archive, tmp_path / "state")
    archive.error = None
    assert work(archive, tmp_path / "state")["done"] == 1


def test_other_parts_of_the_body_are_refused_unseen_unless_named(tmp_path, caplog):
    archive = Archive(SeriesEntry("s1", "a", 9, "ABDOMEN"))
    for _ in range(2):
        counts = work(archive, tmp_path / "state")
        assert (counts["done"], counts["refused"]) == (0, 1)
    assert caplog.text.count("by its header it shows another part of the body") == 1
    assert work(archive, tmp_path / "named", studies=("s1",))["done"] == 1


def test_of_a_named_study_other_images_are_refused_and_ct_is_answered(tmp_path, caplog):
    kinds = {"a": "CT", "b": "MR", "c": "PT", "d": "SR"}
    archive = Archive(*(SeriesEntry("s1", uid, 9, modality=kind) for uid, kind in kinds.items()))
    counts = work(archive, tmp_path / "state", studies=("s1",))
    assert (counts["done"], counts["refused"]) == (1, 2)
    assert "modality MR, not CT" in caplog.text
    assert "modality PT, not CT" in caplog.text


def test_a_full_queue_is_told_once_and_everything_is_answered_in_the_end(tmp_path, caplog):
    archive = Archive(*(SeriesEntry(f"s{n}", str(n), 9) for n in range(7)))
    with caplog.at_level(logging.INFO, "segpipe.serve"):
        assert work(archive, tmp_path / "state", bound=2)["done"] == 7
    assert caplog.text.count("the queue is full") == caplog.text.count("the queue has room again") >= 1


def test_a_fault_of_the_pacs_at_one_series_ends_after_twenty_tries(tmp_path, caplog):
    archive = Archive(SeriesEntry("s1", "a", 9))
    archive.error = PacsFaultError("the PACS refuses; could not fetch a series")
    assert work(archive, tmp_path / "state")["failed"] == 1
    assert "given up after 20 tries: the PACS refuses" in caplog.text


def test_a_full_disk_is_told_once_and_waited_for(tmp_path, caplog):
    class Full(Answers):
        left = 3

        def answer(self, source, folder):
            self.left -= 1
            if self.left >= 0:
                raise OutputError("the file cannot be written") from OSError(28, "No space left on device")
            stop.set()
            return super().answer(source, folder)

    archive, stop = Archive(SeriesEntry("s1", "a", 9)), threading.Event()
    queue = Queue(tmp_path / "queue.sqlite", model="m", bound=100)
    worker = Worker(archive, Full(), queue, tmp_path, policy=WorkerPolicy(0.0, 0.01))
    with caplog.at_level(logging.INFO, "segpipe.serve"):
        worker.run(stop)
    assert queue.counts()["done"] == 1
    queue.close()
    assert caplog.text.count("the file cannot be written") == 1
    assert caplog.text.count("can be written again") == 1
    assert worker.trouble == ""


def test_a_full_disk_ends_a_single_pass_and_keeps_the_series(tmp_path):
    answers = Answers()
    answers.error = OutputError("the file cannot be written")
    answers.error.__cause__ = OSError(28, "No space left on device")
    archive = Archive(SeriesEntry("s1", "a", 9))
    with pytest.raises(OutputError, match="cannot be written"):
        work(archive, tmp_path / "state", answers)
    assert work(archive, tmp_path / "state")["done"] == 1


def test_headers_that_allow_no_answer_are_the_fault_of_the_series(tmp_path):
    answers = Answers()
    answers.error = OutputError("the headers of the series do not allow a DICOM object to be derived")
    assert work(Archive(SeriesEntry("s1", "a", 9)), tmp_path / "state", answers)["refused"] == 1


def test_what_a_killed_worker_left_is_swept(tmp_path):
    left = tmp_path / "state" / "answers" / "0123456789ab"
    left.mkdir(parents=True)
    work(Archive(), tmp_path / "state")
    assert not left.exists()


def test_a_received_series_is_answered_and_dropped_when_it_comes_again(tmp_path):
    queue = Queue(tmp_path / "queue.sqlite", model="m", bound=100)
    archive, arrival = Archive(), Arrival("s1", "a")
    worker = Worker(archive, Answers(), queue, tmp_path, policy=WorkerPolicy(0.0, 0.01))
    for _ in range(2):
        folder = worker.folder_of(arrival)
        folder.mkdir(parents=True)
        (folder / "00001.dcm").write_text("a")
        assert worker.arrived(arrival, "00001")
        worker.finished([arrival])
        worker.run(threading.Event(), once=True)
        assert not folder.exists()
    assert archive.stored == ["seg a", "sr a"]
    queue.close()


def test_a_named_study_without_ct_is_told(tmp_path):
    with pytest.raises(ImageError, match="has no CT series") as caught:
        work(Archive(SeriesEntry("s1", "a", 9)), tmp_path / "state", studies=("9.8.7",))
    assert "9.8.7" not in str(caught.value)


def test_a_dead_pacs_ends_a_single_pass_with_one_message(tmp_path):
    class Dead(Archive):
        def find_ct(self, *, days=None):
            raise PacsAwayError("the PACS does not answer")

    with pytest.raises(ServiceError, match="does not answer"):
        work(Dead(), tmp_path / "state")


def test_while_the_pacs_is_away_nothing_is_asked_of_it_and_one_line_is_told(tmp_path, caplog):
    class Dead(Archive):
        looks, stop = 0, threading.Event()

        def find_ct(self, *, days=None):
            self.looks += 1
            if self.looks == 5:
                self.stop.set()
            if self.looks in (2, 3):
                raise PacsAwayError("the PACS does not answer")
            return super().find_ct(days=days)

    archive = Dead(*(SeriesEntry(f"s{n}", str(n), 9) for n in range(3)))
    archive.away = 1
    queue = Queue(tmp_path / "queue.sqlite", model="m", bound=100)
    with caplog.at_level(logging.INFO, "segpipe.serve"):
        Worker(archive, Answers(), queue, tmp_path, policy=WorkerPolicy(0.0, 0.0)).run(archive.stop)
    queue.close()
    assert caplog.text.count("the PACS does not answer") == 1
    assert caplog.text.count("the PACS answers again") == 1


def test_back_off_doubles_up_to_a_limit(monkeypatch):
    monkeypatch.setattr("segpipe.serving.policy.FIRST_DELAY_S", 1.0)
    assert 1 <= back_off(1) <= 1.25
    assert 8 <= back_off(4) <= 10
    assert LONGEST_DELAY_S <= back_off(1000) <= 1.25 * LONGEST_DELAY_S
