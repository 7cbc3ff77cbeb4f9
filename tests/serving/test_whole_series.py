"""Whatever way the instances of a series come, and when: it is answered whole, and each state of it once."""

import threading

import pytest

from segpipe.io.pacs.dicomweb.pacs import SeriesEntry
from segpipe.io.pacs.errors import PacsFaultError
from segpipe.io.pacs.names import instance_name, set_digest
from tests.serving.fakes import Answers, Archive, Picky, images, uids, work, write


def test_instances_that_were_refused_are_answered_with_those_that_follow(archive, serve, tmp_path):
    service = serve(Picky())
    service.receive("s", "1", range(4))
    assert service.run()["refused"] == 1
    service.receive("s", "1", range(4, 20))
    assert service.run()["done"] == 1
    assert archive.answers() == [20]
    assert images(tmp_path) == []


def test_instances_that_arrive_while_their_series_is_refused_are_kept(archive, serve):
    class Slow(Picky):
        def answer(self, source, folder, **given):
            if len(list(source.iterdir())) == 4:
                service.receive("s", "1", range(4, 20))
            return super().answer(source, folder, **given)

    service = serve(Slow())
    service.receive("s", "1", range(4))
    assert service.run()["done"] == 1
    assert archive.answers() == [20]


def test_instances_that_arrive_while_their_series_is_answered_open_it_again(archive, serve, tmp_path):
    class Slow(Answers):
        def answer(self, source, folder, **given):
            if self.predictions == 0:
                service.receive("s", "1", [19])
            return super().answer(source, folder, **given)

    service = serve(Slow())
    archive.grow("s", "1", 19)
    assert service.run()["done"] == 1
    assert archive.answers() == [19, 20]
    assert images(tmp_path) == []


def test_a_received_series_that_was_refused_is_answered_when_the_pacs_lists_it_whole(archive, serve, tmp_path):
    service = serve(Picky())
    service.receive("s", "1", range(4))
    assert service.run()["refused"] == 1
    archive.grow("s", "1", 20)
    assert service.run()["done"] == 1
    assert archive.answers() == [20]
    assert images(tmp_path) == []


def test_the_end_of_a_series_is_fetched_from_the_pacs_that_has_it(archive, serve):
    service = serve()
    service.receive("s", "1", range(16))
    archive.grow("s", "1", 20)
    assert service.run()["done"] == 1
    assert archive.answers() == [20]


def test_what_the_pacs_lacks_is_answered_with_what_it_has(archive, serve):
    service = serve()
    service.receive("s", "1", range(20))
    archive.grow("s", "1", 12)
    assert service.run()["done"] == 1
    archive.grow("s", "1", 20)
    assert service.run()["done"] == 1
    assert archive.answers() == [20]


def test_a_grown_series_gets_an_answer_that_names_the_former(archive, serve):
    service = serve()
    archive.grow("s", "1", 16)
    service.run()
    (former,) = [uid for uid in archive.stored if uid.startswith("sr")]
    archive.grow("s", "1", 20)
    service.run()
    assert archive.answers() == [16, 20]
    newest = list(archive.stored)[-1]
    assert archive.stored[newest].split("\n")[-1] == former
    assert newest == f"sr {set_digest(map(instance_name, uids('1', 20)))} m"


def test_a_pacs_that_fills_up_after_the_answer_costs_a_look_and_no_answer(archive, serve):
    service = serve()
    service.receive("s", "1", range(20))
    service.run()
    for count in (3, 20):
        archive.grow("s", "1", count)
        assert service.run()["done"] == 1
    assert archive.answers() == [20]


def test_as_many_other_instances_in_the_pacs_are_not_taken_for_those_that_were_answered(archive, serve):
    service = serve()
    service.receive("s", "1", range(10, 20))
    service.run()
    archive.grow("s", "1", 10)
    assert service.run()["refused"] == 1
    archive.grow("s", "1", 20)
    assert service.run()["done"] == 1
    assert archive.answers() == [10, 20]


@pytest.mark.parametrize("late", [[20], range(20, 50)])
def test_late_instances_alone_are_refused_until_the_rest_is_here_again(archive, serve, late):
    service = serve()
    service.receive("s", "1", range(20))
    service.run()
    service.receive("s", "1", late)
    assert service.run()["refused"] == 1
    (reason,) = service.queue.reasons()
    assert reason == "a series has grown, and instances of it that were answered before are no longer here"
    service.receive("s", "1", range(20))
    assert service.run()["done"] == 1
    assert archive.answers() == [20, 20 + len(late)]


def test_instances_that_are_deleted_from_the_pacs_change_no_answer(archive, serve):
    service = serve()
    archive.grow("s", "1", 20)
    service.run()
    archive.grow("s", "1", 18)
    assert service.run()["done"] == 1
    assert archive.answers() == [20]


@pytest.mark.parametrize("numbers", [range(20), [7]])
def test_what_has_been_answered_is_dropped_when_it_comes_again(archive, serve, tmp_path, caplog, numbers):
    service = serve()
    for again in (range(20), numbers):
        service.receive("s", "1", again)
        assert service.run()["done"] == 1
    assert archive.answers() == [20]
    assert images(tmp_path) == []


def test_a_series_that_failed_is_worked_on_when_it_is_sent_again(archive, serve, tmp_path):
    archive.failures["store"] = [PacsFaultError("the PACS did not take a result")] * 20
    service = serve()
    service.receive("s", "1", range(20))
    assert service.run()["failed"] == 1
    service.receive("s", "1", [3])
    assert service.run()["done"] == 1
    assert archive.answers() == [20]
    assert images(tmp_path) == []


def test_the_pacs_is_believed_about_what_it_gives_not_what_it_lists(archive, serve):
    class Short(Archive):
        def list_instances(self, study_uid, series_uid):
            return frozenset(sorted(super().list_instances(study_uid, series_uid))[:10])

    short = Short(SeriesEntry("s", "1", 20))
    archive.list_instances, archive.entries, archive.held = short.list_instances, short.entries, short.held
    assert serve().run()["done"] == 1
    assert archive.answers() == [20]


@pytest.mark.parametrize("instances", [None, 3, 25])
def test_two_counts_in_a_row_agree_where_the_pacs_gives_no_number_or_a_wrong_one(archive, serve, instances):
    archive.grow("s", "1", 20)
    archive.entries["1"] = SeriesEntry("s", "1", instances)
    service = serve()
    for _ in range(2):
        assert service.run()["done"] == 1
    assert archive.answers() == [20]
    assert archive.asked.count("fetch") == 1


def test_a_series_that_grows_between_look_and_work_waits(tmp_path):
    class Growing(Archive):
        def list_instances(self, study_uid, series_uid):
            if "list_instances" not in self.asked:
                self.grow("s", "1", 20)
            return super().list_instances(study_uid, series_uid)

    grows = Growing(SeriesEntry("s", "1", 16))
    assert work(grows, tmp_path / "state")["done"] == 1
    assert grows.answers() == [20]


def test_a_pacs_that_gives_less_than_it_lists_is_asked_again(archive, serve):
    class Partial(Archive):
        def fetch(self, study_uid, series_uid, *, folder):
            write(folder, uids(series_uid, 12 if "fetch" not in self.asked else 20))
            self.asked.append("fetch")

    partial = Partial(SeriesEntry("s", "1", 20))
    archive.fetch, archive.entries, archive.held = partial.fetch, partial.entries, partial.held
    assert serve().run()["done"] == 1
    assert archive.answers() == [20]


def test_receiving_goes_on_while_the_worker_works(archive, serve, tmp_path):
    service, stop = serve(), threading.Event()
    thread = threading.Thread(target=service.worker.run, args=(stop,))
    thread.start()
    for number in range(60):
        service.receive("s", str(number % 3), [number // 3])
    stop.set()
    thread.join()
    for series in range(3):  # what was answered in part before is no longer here
        service.receive("s", str(series), range(20))
    assert service.run()["done"] == 3
    assert archive.answers().count(20) == 3
    assert images(tmp_path) == []
