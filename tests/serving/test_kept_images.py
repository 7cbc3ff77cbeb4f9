"""Which images a worker keeps, takes over, fetches again and removes: after refusals, deaths, with another model."""

import pytest

from segpipe.io.pacs.errors import PacsFaultError
from segpipe.io.pacs.names import instance_name
from segpipe.io.pacs.receiving.receiver import Arrival
from segpipe.serving.database import QueueError
from tests.serving.fakes import Killed, Picky, images, uids, write


def test_images_of_a_refused_series_are_given_up_after_a_while_and_never_answered_in_part(archive, serve, tmp_path):
    service = serve(Picky())
    service.receive("s", "1", range(4))
    service.run()
    assert len(images(tmp_path)) == 4
    service = serve(keep_s=0.0)
    service.run()
    assert images(tmp_path) == []
    service.receive("s", "1", range(4, 20))
    assert service.run()["refused"] == 1
    assert "instances that were received are no longer here" in service.queue.reasons()
    archive.grow("s", "1", 20)
    assert service.run()["done"] == 1
    assert archive.answers() == [20]


def test_another_model_answers_what_the_former_one_was_sent(archive, serve, tmp_path):
    serve(model="one").receive("s", "1", range(20))
    refused = serve(Picky(), model="one")
    refused.receive("s", "2", range(4))
    assert refused.worker.trouble == ""
    service = serve(model="two")
    counts = service.run()
    assert (counts["done"], counts["refused"]) == (2, 0)
    assert archive.answers() == [4, 20]
    assert images(tmp_path) == []


def test_a_model_that_comes_back_answers_nothing_twice(archive, serve):
    archive.grow("s", "1", 20)
    serve(model="one").run()
    service = serve(model="two")
    service.receive("s", "1", [5])
    service = serve(model="one")
    assert service.run()["done"] == 1
    assert archive.answers() == [20]


def test_another_model_answers_no_part_of_what_the_former_one_answered(archive, serve):
    service = serve(model="one")
    service.receive("s", "1", range(20))
    service.run()
    service = serve(model="two")
    archive.grow("s", "1", 12)
    service.receive("s", "1", [20])
    assert service.run()["refused"] == 1
    service.receive("s", "1", range(20))
    assert service.run()["done"] == 1
    assert archive.answers() == [20, 21]


def test_what_was_written_and_not_noted_when_the_worker_died(archive, serve, tmp_path):
    service = serve()
    service.receive("s", "1", range(19))
    inbox = next((tmp_path / "state" / "received").iterdir())
    write(inbox, ["1.19"])
    write(inbox.parent / "0123456789ab", ["2.0"])
    service = serve()
    assert len(images(tmp_path)) == 20
    assert service.run()["done"] == 1
    assert archive.answers() == [20]
    assert images(tmp_path) == []


def test_what_a_killed_worker_had_fetched_is_fetched_again(archive, serve):
    """Unlike what was received it was never made safe against a power cut."""
    archive.grow("s", "1", 20)
    archive.failures["store"] = [Killed()]
    with pytest.raises(Killed):
        serve().run()
    assert serve().run()["done"] == 1
    assert archive.asked.count("fetch") == 2
    assert archive.answers() == [20]


def test_what_a_killed_worker_left_is_swept(archive, serve, tmp_path):
    for kind in ("fetched", "images", "answers"):
        write(tmp_path / "state" / kind / "0123456789ab", ["1.0"])
    serve()
    assert images(tmp_path) == []


def test_what_cannot_be_noted_is_not_kept_unless_it_was_acknowledged_before(archive, serve):
    service, arrival = serve(), Arrival("s", "1")
    service.receive("s", "1", [0])
    service.queue._database._connection.execute("PRAGMA query_only=1")  # as on a full disk nothing can be written
    with pytest.raises(QueueError, match="the queue cannot be written"):
        service.worker.arrived(arrival, instance_name("1.0"))
    assert not service.worker.arrived(arrival, instance_name("1.1"))
    service.queue._database._connection.execute("PRAGMA query_only=0")
    assert service.worker.arrived(arrival, instance_name("1.1"))


def test_what_is_being_received_is_never_swept(archive, serve, tmp_path):
    service = serve()
    write(tmp_path / "state" / "received" / "0123456789ab", ["1.0"])
    service.run()
    assert len(images(tmp_path)) == 1


def test_an_interrupted_fetch_is_begun_again(archive, serve, tmp_path):
    archive.grow("s", "1", 20)

    def broken(study_uid, series_uid, *, folder):
        write(folder, uids("1", 20)[:7])
        archive.fetch = whole
        raise PacsFaultError("cut")

    whole, archive.fetch = archive.fetch, broken
    assert serve().run()["done"] == 1
    assert archive.answers() == [20]
