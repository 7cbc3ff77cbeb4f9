"""The worker against a PACS of a few lines that can be away, refuse, or see the worker die after a store."""

import logging
import threading

import pytest

from segpipe.errors import ImageError, ServiceError
from segpipe.io.dicomweb import PacsAwayError, SeriesEntry, WrongPasswordError
from segpipe.serving.queue import Queue
from segpipe.serving.worker import LONGEST_DELAY_S, Habits, Worker, back_off


class Killed(BaseException):
    """Ends the worker where it stands, as SIGKILL does."""


class Archive:
    def __init__(self, *series):
        self.series, self.stored = list(series), []
        self.away, self.die_after_store, self.error = 0, False, None

    def find_ct(self, *, study_uid=None, days=None):
        return [entry for entry in self.series if study_uid in (None, entry.study_uid)]

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
    monkeypatch.setattr("segpipe.serving.worker.FIRST_DELAY_S", 0.0)


def work(archive, state, answers=None, **habits):
    state.mkdir(exist_ok=True)
    queue = Queue(state / "queue.sqlite", model="m", bound=100)
    try:
        worker = Worker(archive, answers or Answers(), queue, state, habits=Habits(0.0, 0.01, **habits))
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


def test_a_bad_series_is_given_up_and_the_others_are_answered(tmp_path, caplog):
    class Picky(Answers):
        def answer(self, source, folder):
            if (source / "00001.dcm").read_text() == "1.2.3":
                raise ImageError("no lungs in the scan")
            return super().answer(source, folder)

    archive = Archive(SeriesEntry("s1", "1.2.3", 9), SeriesEntry("s2", "b", 9))
    with caplog.at_level(logging.INFO, "segpipe.serve"):
        counts = work(archive, tmp_path / "state", Picky())
    assert (counts["done"], counts["failed"]) == (1, 1)
    assert caplog.text.count("no lungs in the scan") == 1
    assert "1.2.3" not in caplog.text


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


def test_other_parts_of_the_body_are_left_alone_unless_named(tmp_path):
    archive = Archive(SeriesEntry("s1", "a", 9, "ABDOMEN"))
    assert work(archive, tmp_path / "state")["done"] == 0
    assert work(archive, tmp_path / "state", studies=("s1",))["done"] == 1


def test_a_named_study_without_ct_is_told(tmp_path):
    with pytest.raises(ImageError, match="has no CT series") as caught:
        work(Archive(SeriesEntry("s1", "a", 9)), tmp_path / "state", studies=("9.8.7",))
    assert "9.8.7" not in str(caught.value)


def test_a_dead_pacs_ends_a_single_pass_with_one_message(tmp_path):
    class Dead(Archive):
        def find_ct(self, *, study_uid=None, days=None):
            raise PacsAwayError("the PACS does not answer")

    with pytest.raises(ServiceError, match="does not answer"):
        work(Dead(), tmp_path / "state")


def test_back_off_doubles_up_to_a_limit(monkeypatch):
    monkeypatch.setattr("segpipe.serving.worker.FIRST_DELAY_S", 1.0)
    assert 1 <= back_off(1) <= 1.25
    assert 8 <= back_off(4) <= 10
    assert LONGEST_DELAY_S <= back_off(1000) <= 1.25 * LONGEST_DELAY_S
