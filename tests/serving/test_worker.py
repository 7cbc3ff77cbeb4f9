"""The worker against a PACS of a few lines that can be away, refuse, or see the worker die after a store."""

import logging
import threading

import pytest

from segpipe.errors import ImageError, OutputError, ServiceError
from segpipe.io.pacs.dicomweb.pacs import SeriesEntry
from segpipe.io.pacs.errors import (
    ForbiddenError,
    MissingError,
    PacsAwayError,
    PacsFaultError,
    WrongPasswordError,
)
from segpipe.serving.policy import LONGEST_DELAY_S, back_off
from tests.serving.fakes import Answers, Archive, Killed, Service, images, work


def kinds(archive):
    return sorted(uid.partition(" ")[0] for uid in archive.stored)


def test_every_series_gets_segmentation_and_report(tmp_path):
    archive = Archive(SeriesEntry("s1", "1", 9), SeriesEntry("s2", "2", 7))
    assert work(archive, tmp_path / "state")["done"] == 2
    assert kinds(archive) == ["seg", "seg", "sr", "sr"]
    assert archive.answers() == [7, 9]
    assert images(tmp_path) == []


def test_killed_between_store_and_bookkeeping_answers_once(tmp_path):
    archive = Archive(SeriesEntry("s1", "1", 9))
    archive.failures["stored"] = [None, Killed()]
    with pytest.raises(Killed):
        work(archive, tmp_path / "state")
    assert work(archive, tmp_path / "state")["done"] == 1
    assert kinds(archive) == ["seg", "sr"]
    assert images(tmp_path) == []


def test_killed_between_segmentation_and_report_stores_the_report_of_the_same_prediction(tmp_path):
    archive, answers = Archive(SeriesEntry("s1", "1", 9)), Answers()
    archive.failures["stored"] = [Killed()]
    with pytest.raises(Killed):
        work(archive, tmp_path / "state", answers)
    work(archive, tmp_path / "state", answers)
    assert kinds(archive) == ["seg", "sr"]
    segmentation, report = archive.stored
    assert archive.stored[report].split("\n")[1] == segmentation
    assert answers.predictions == 1


def test_a_lost_state_folder_answers_nothing_twice(tmp_path):
    archive = Archive(SeriesEntry("s1", "1", 9))
    work(archive, tmp_path / "state")
    asked = len(archive.asked)
    work(archive, tmp_path / "other")
    assert kinds(archive) == ["seg", "sr"]
    assert "fetch" not in archive.asked[asked:]


def test_an_absent_pacs_is_asked_again(tmp_path):
    archive = Archive(SeriesEntry("s1", "1", 9))
    archive.failures["fetch"] = [PacsAwayError("the PACS does not answer")] * 30
    assert work(archive, tmp_path / "state")["done"] == 1


class Odd(Answers):
    """Refuses series of an odd number of instances."""

    def answer(self, source, folder, **given):
        if len(list(source.iterdir())) % 2:
            raise ImageError("no lungs in the scan")
        return super().answer(source, folder, **given)


def test_a_bad_series_is_refused_and_the_others_are_answered(tmp_path, caplog):
    archive = Archive(SeriesEntry("s1", "1.2.3", 9), SeriesEntry("s2", "2", 8))
    with caplog.at_level(logging.INFO, "segpipe.serve"):
        counts = work(archive, tmp_path / "state", Odd())
        assert work(archive, tmp_path / "state", Odd()) == counts
    assert (counts["done"], counts["refused"], counts["failed"]) == (1, 1, 0)
    assert caplog.text.count("no lungs in the scan") == 1
    assert "1.2.3" not in caplog.text
    assert images(tmp_path) == []


def test_a_surprise_is_tried_five_times_and_its_text_never_reported(tmp_path, caplog):
    counts = work(Archive(SeriesEntry("s1", "1", 9)), tmp_path / "state", Answers(RuntimeError("patient Secret")))
    assert counts["failed"] == 1
    assert "given up after 5 tries: RuntimeError" in caplog.text
    assert "Secret" not in caplog.text


def test_a_wrong_password_ends_the_worker_and_keeps_the_series(tmp_path):
    archive = Archive(SeriesEntry("s1", "1", 9))
    archive.failures["fetch"] = [WrongPasswordError("the PACS refuses user and password")]
    with pytest.raises(ServiceError, match="refuses user and password"):
        work(archive, tmp_path / "state")
    assert work(archive, tmp_path / "state")["done"] == 1


@pytest.mark.parametrize("request_", ["list_instances", "has", "fetch", "store"])
def test_a_series_that_is_forbidden_is_refused_alone_and_the_next_start_goes_on(tmp_path, caplog, request_):
    archive = Archive(SeriesEntry("s1", "1", 9), SeriesEntry("s2", "2", 8))
    archive.failures[request_] = [ForbiddenError("the PACS does not allow it")]
    for _ in range(2):
        counts = work(archive, tmp_path / "state")
        assert (counts["done"], counts["refused"]) == (1, 1)
    assert caplog.text.count("is refused: the PACS does not allow it") == 1
    assert images(tmp_path) == []


def test_a_named_study_that_is_forbidden_costs_itself_alone(tmp_path, caplog):
    archive, stop = Archive(SeriesEntry("s2", "2", 8)), threading.Event()
    archive.failures["find_in_study"] = [ForbiddenError("the PACS does not allow it"), None] * 3
    service = Service(archive, tmp_path / "state", EndsAfterOne(stop), studies=("1.2.3", "s2"))
    service.worker.run(stop)
    assert service.queue.counts()["done"] == 1
    service.close()
    assert caplog.text.count("the PACS does not allow it") == 1
    assert "1.2.3" not in caplog.text


class EndsAfterOne(Answers):
    """Lets the worker end after one answer."""

    def __init__(self, stop):
        super().__init__()
        self.stop = stop

    def answer(self, *given, **more):
        self.stop.set()
        return super().answer(*given, **more)


def test_other_parts_of_the_body_are_refused_unseen_unless_named(tmp_path, caplog):
    archive = Archive(SeriesEntry("s1", "1", 9, "ABDOMEN"))
    for _ in range(2):
        counts = work(archive, tmp_path / "state")
        assert (counts["done"], counts["refused"]) == (0, 1)
    assert caplog.text.count("by its header it shows another part of the body") == 1
    assert work(archive, tmp_path / "state", studies=("s1",))["done"] == 1


def test_of_a_named_study_other_images_are_refused_and_ct_is_answered(tmp_path, caplog):
    modalities = {"1": "CT", "2": "MR", "3": "PT", "4": "SR"}
    archive = Archive(*(SeriesEntry("s1", uid, 9, modality=kind) for uid, kind in modalities.items()))
    counts = work(archive, tmp_path / "state", studies=("s1",))
    assert (counts["done"], counts["refused"]) == (1, 2)
    assert "modality MR, not CT" in caplog.text
    assert "modality PT, not CT" in caplog.text


def test_a_full_queue_is_reported_once_and_everything_is_answered_in_the_end(tmp_path, caplog):
    archive = Archive(*(SeriesEntry(f"s{n}", str(n), 9) for n in range(7)))
    with caplog.at_level(logging.INFO, "segpipe.serve"):
        assert work(archive, tmp_path / "state", bound=2)["done"] == 7
    assert caplog.text.count("the queue is full") == caplog.text.count("the queue has room again") >= 1


@pytest.mark.parametrize("request_", ["list_instances", "has", "fetch", "store"])
@pytest.mark.parametrize("kind", [PacsFaultError, MissingError, ServiceError])
def test_what_the_pacs_refuses_now_it_may_take_later(tmp_path, request_, kind):
    archive = Archive(SeriesEntry("s1", "1", 9))
    archive.failures[request_] = [kind("the PACS refuses")] * 19
    assert work(archive, tmp_path / "state")["done"] == 1
    assert archive.answers() == [9]


def test_a_fault_of_the_pacs_at_one_series_ends_after_twenty_tries(tmp_path, caplog):
    archive, answers = Archive(SeriesEntry("s1", "1", 9)), Answers()
    archive.failures["store"] = [ServiceError("the PACS did not take a result")] * 20
    assert work(archive, tmp_path / "state", answers)["failed"] == 1
    assert "given up after 20 tries: the PACS did not take a result" in caplog.text
    assert answers.predictions == 1
    assert images(tmp_path) == []


def test_faults_of_the_pacs_and_surprises_are_counted_apart(tmp_path):
    archive = Archive(SeriesEntry("s1", "1", 9))
    archive.failures["fetch"] = [PacsFaultError("fault")] * 10 + [RuntimeError("surprise")] * 4
    assert work(archive, tmp_path / "state")["done"] == 1


@pytest.mark.parametrize("kind", [MissingError, PacsFaultError, ServiceError])
def test_a_look_that_fails_ends_no_worker(tmp_path, caplog, kind):
    archive, stop = Archive(SeriesEntry("s1", "1", 9)), threading.Event()
    archive.failures["find_ct"] = [kind("the PACS refuses; could not search")] * 3
    service = Service(archive, tmp_path / "state", EndsAfterOne(stop))
    service.worker.run(stop)
    assert service.queue.counts()["done"] == 1
    service.close()
    assert caplog.text.count("the PACS refuses; could not search") == 1


def test_a_listing_that_nobody_foresaw_ends_no_worker_and_is_not_quoted(tmp_path, caplog):
    archive, stop = Archive(SeriesEntry("s1", "1", 9)), threading.Event()
    archive.failures["find_ct"] = [RuntimeError("1.2.3")] * 3
    service = Service(archive, tmp_path / "state", EndsAfterOne(stop))
    service.worker.run(stop)
    assert service.queue.counts()["done"] == 1
    service.close()
    assert caplog.text.count("what the PACS lists cannot be understood; found  RuntimeError") == 1
    assert "1.2.3" not in caplog.text


def no_space(text="the file cannot be written"):
    error = OutputError(text)
    error.__cause__ = OSError(28, "No space left on device")
    return error


def test_a_full_disk_is_reported_once_and_waited_for(tmp_path, caplog):
    archive, stop = Archive(SeriesEntry("s1", "1", 9)), threading.Event()
    archive.failures["fetch"] = [no_space()] * 3
    service = Service(archive, tmp_path / "state", EndsAfterOne(stop))
    with caplog.at_level(logging.INFO, "segpipe.serve"):
        service.worker.run(stop)
    assert service.queue.counts()["done"] == 1
    service.close()
    assert caplog.text.count("the file cannot be written") == 1
    assert caplog.text.count("can be written again") == 1
    assert service.worker.trouble == ""


def test_a_full_disk_ends_a_single_pass_and_keeps_the_series(tmp_path):
    archive = Archive(SeriesEntry("s1", "1", 9))
    with pytest.raises(OutputError, match="cannot be written"):
        work(archive, tmp_path / "state", Answers(no_space()))
    assert work(archive, tmp_path / "state")["done"] == 1


def test_headers_that_allow_no_answer_are_the_fault_of_the_series(tmp_path):
    answers = Answers(OutputError("the headers of the series do not allow a DICOM object to be derived"))
    assert work(Archive(SeriesEntry("s1", "1", 9)), tmp_path / "state", answers)["refused"] == 1


def test_a_named_study_without_ct_is_reported(tmp_path):
    with pytest.raises(ImageError, match="has no CT series") as caught:
        work(Archive(SeriesEntry("s1", "1", 9)), tmp_path / "state", studies=("9.8.7",))
    assert "9.8.7" not in str(caught.value)


def test_a_dead_pacs_ends_a_single_pass_with_one_message(tmp_path):
    archive = Archive()
    archive.failures["find_ct"] = [PacsAwayError("the PACS does not answer")]
    with pytest.raises(ServiceError, match="does not answer"):
        work(archive, tmp_path / "state")


def test_while_the_pacs_is_away_nothing_is_asked_of_it_and_one_line_is_reported(tmp_path, caplog):
    archive, stop = Archive(*(SeriesEntry(f"s{n}", str(n), 9) for n in range(3))), threading.Event()
    away = PacsAwayError("the PACS does not answer")
    archive.failures = {"fetch": [away], "find_ct": [None, None, away, away]}
    service = Service(archive, tmp_path / "state", EndsAfterOne(stop))
    with caplog.at_level(logging.INFO, "segpipe.serve"):
        service.worker.run(stop)
    service.close()
    first = archive.asked.index("fetch")
    assert archive.asked[first : first + 4] == ["fetch", "find_ct", "find_ct", "find_ct"]
    assert caplog.text.count("the PACS does not answer") == 1
    assert caplog.text.count("the PACS answers again") == 1


def test_back_off_doubles_up_to_a_limit(monkeypatch):
    monkeypatch.setattr("segpipe.serving.policy.FIRST_DELAY_S", 1.0)
    assert 1 <= back_off(1) <= 1.25
    assert 8 <= back_off(4) <= 10
    assert LONGEST_DELAY_S <= back_off(1000) <= 1.25 * LONGEST_DELAY_S
