"""`python -m segpipe serve`: a worker beside a PACS that answers chest CT series."""

import argparse
import logging
import signal
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from segpipe.commands.serve_flags import parse_flags
from segpipe.errors import OutputError

if TYPE_CHECKING:
    from segpipe.serving.answer import Answerer
    from segpipe.serving.queue import Queue
    from segpipe.serving.worker import Worker


def run(argv: list[str]) -> int:
    """Serves until it is told to end; returns 0, or 2 when `--once` gave series up."""
    given = parse_flags(argv)
    from segpipe.inference.batch import model_digest
    from segpipe.io.dicomweb import Pacs
    from segpipe.serving.health import Door, HealthPage
    from segpipe.serving.queue import Queue
    from segpipe.serving.worker import Habits, Worker

    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("segpipe").setLevel(logging.INFO)
    _make_state(given)
    pacs = Pacs(given.dicomweb, user=given.user, password=given.password, authority=given.authority)
    answers = _answers(given)
    queue = Queue(given.state / "queue.sqlite", model=model_digest(answers.model), bound=given.queue_size)
    habits = Habits(given.stable, given.poll, tuple(given.study), None if given.all_dates else given.days)
    worker = Worker(pacs, answers, queue, given.state, habits=habits)
    door = Door(given.host, given.port, given.page_user, given.page_password, given.certificate, given.key)
    page = HealthPage(lambda: _report(worker, queue), door)
    page.start()
    receiver = _receiver(given, worker)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        worker.run(stop, once=given.once)
    finally:
        page.stop()
        if receiver is not None:
            receiver.stop()
    return 2 if given.once and queue.counts()["failed"] else 0


def _make_state(given: argparse.Namespace) -> None:
    try:
        given.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError("the state folder cannot be made", facts={"folder": given.state, "found": error}) from error


def _answers(given: argparse.Namespace) -> "Answerer":
    from segpipe.export.model_folder import read_model_folder
    from segpipe.inference.backends import build_engine
    from segpipe.inference.operating_point import Wish, choose_point
    from segpipe.inference.predictor import PredictOptions
    from segpipe.serving.answer import Answerer

    model = read_model_folder(given.model)
    flips = tuple(model.operating_point.get("flips", ()))
    options = PredictOptions.at(choose_point(model.operating_point, Wish()), flips=flips)
    return Answerer(model, build_engine(model, backend=given.backend, device=given.device), options)


def _receiver(given: argparse.Namespace, worker: "Worker") -> Any:
    if given.dicom_port is None:
        return None
    from segpipe.io.dicom_receive import Inbox, Peer, Receiver

    inbox = Inbox(worker.folder_of, worker.arrived, worker.finished)
    receiver = Receiver(given.aet, given.dicom_port, peers=[Peer.parse(text) for text in given.peer], inbox=inbox)
    receiver.start()
    return receiver


def _report(worker: "Worker", queue: "Queue") -> Mapping[str, Any]:
    status = worker.trouble or "ok"
    return {"status": status, "up_s": round(time.time() - worker.started), "series": queue.counts()}
