"""`python -m segpipe serve`: a worker next to a PACS that answers chest CT series."""

import argparse
import logging
import signal
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from segpipe.cli.common.compute_flags import memory_limit
from segpipe.cli.common.model_flags import read_verify_key
from segpipe.cli.common.point_flags import wish_of
from segpipe.cli.serve.flags import parse_flags
from segpipe.cli.serve.interactive import serve_interactive

if TYPE_CHECKING:
    from segpipe.io.pacs.receiving.receiver import Receiver
    from segpipe.serving.answer import Answerer
    from segpipe.serving.health import HealthPage
    from segpipe.serving.policy import WorkerPolicy
    from segpipe.serving.queue import Queue
    from segpipe.serving.worker import Worker


def run(argv: list[str]) -> int:
    """Serves until it is asked to end; returns 0, or 2 when `--once` refused or gave series up."""
    given = parse_flags(argv)
    if given.interactive:
        return serve_interactive(given)
    from segpipe.inference.batch.memory import TOO_LARGE
    from segpipe.io.pacs.dicomweb.pacs import Pacs
    from segpipe.serving.health import HealthPage, HealthServerConfig
    from segpipe.serving.queue import Queue
    from segpipe.serving.state import may_take_more, open_state
    from segpipe.serving.worker import Worker

    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("segpipe").setLevel(logging.INFO)
    pacs = Pacs(given.dicomweb, user=given.user, password=given.password, authority=given.authority)
    answers = _answers(given)
    with open_state(given.state) as state:
        queue = Queue(state / "queue.sqlite", model=answers.digest, bound=given.queue_size)
        policy = _policy(given)
        if may_take_more(state, answers.bound.limit):
            queue.reconsider(TOO_LARGE, keep_s=policy.keep_s)
        worker = Worker(pacs, answers, queue, state, policy=policy)
        door = HealthServerConfig(
            given.host, given.port, given.page_user, given.page_password, given.certificate, given.key
        )
        _serve(worker, HealthPage(lambda: _report(worker, queue), door), given)
        counts = queue.counts()
    return 2 if given.once and counts["failed"] + counts["refused"] else 0


def _serve(worker: "Worker", page: "HealthPage", given: argparse.Namespace) -> None:
    """Works until a signal, or with `--once` until nothing waits; who reads the page may send by C-STORE."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    worker.resume()
    with ExitStack() as doors:
        receiver = _receiver(given, worker)
        if receiver is not None:
            receiver.start()
            doors.callback(receiver.stop)
        page.start()
        doors.callback(page.stop)
        worker.run(stop, once=given.once)


def _policy(given: argparse.Namespace) -> "WorkerPolicy":
    from segpipe.serving.policy import WorkerPolicy

    return WorkerPolicy(given.stable, given.poll, tuple(given.study), None if given.all_dates else given.days)


def _answers(given: argparse.Namespace) -> "Answerer":
    from segpipe.export.model_folder import read_model_folder
    from segpipe.inference.batch.dicom_results import load_writers
    from segpipe.inference.batch.memory import MemoryBound
    from segpipe.inference.engines.backends import build_engine
    from segpipe.inference.operating_point import choose_point
    from segpipe.inference.options import PredictOptions
    from segpipe.inference.ratings.rater import Rater
    from segpipe.serving.answer import Answerer

    limit = memory_limit(given)
    model = read_model_folder(given.model, key=read_verify_key(given))
    stored = model.operating_point
    options = PredictOptions.of_model(choose_point(stored, wish_of(given)), stored)
    engine = build_engine(model, backend=given.backend, device=given.device)
    load_writers(["dicom-sr"])
    rater = Rater.open(given.ratings, key=read_verify_key(given)) if given.ratings else None
    return Answerer(model, engine, options, MemoryBound.of(engine, model, limit), rater)


def _receiver(given: argparse.Namespace, worker: "Worker") -> "Receiver | None":
    if given.dicom_port is None:
        return None
    from segpipe.io.pacs.receiving.peers import Peer
    from segpipe.io.pacs.receiving.receiver import Inbox, Receiver

    inbox = Inbox(worker.folder_of, worker.arrived, worker.finished)
    peers = [Peer.parse(text) for text in given.peer]
    return Receiver(given.aet, given.dicom_port, peers=peers, inbox=inbox, host=given.dicom_host)


def _report(worker: "Worker", queue: "Queue") -> Mapping[str, Any]:
    return {
        "status": worker.trouble or "ok",
        "up_s": round(worker.up_s),
        "series": queue.counts(),
        "room": queue.room(),
        "reasons": queue.reasons(),
    }
