"""`python -m segpipe predict`: from scans and a model folder to masks and findings."""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from segpipe.commands.predict_flags import parse_flags
from segpipe.errors import ConfigError

if TYPE_CHECKING:
    from segpipe.inference.batch import Job, Outcome


def run(argv: list[str]) -> int:
    """Predicts; returns 0, or 2 when scans were left out."""
    given = parse_flags(argv)
    from segpipe.commands.progress import Bar
    from segpipe.inference.batch import predict_scans
    from segpipe.inference.dicom_results import check_sources
    from segpipe.inference.memory import MemoryBound, parse_bytes
    from segpipe.inference.scans import find_scans

    limit = parse_bytes(given.memory) if given.memory else None
    job = _job(given)
    scans = find_scans(given.input)
    check_sources(scans, given.output_format)
    if given.at and len(scans) > 1:
        raise ConfigError("--at names a point of one scan", facts={"scans": len(scans)}, hint="give one scan")
    bound = MemoryBound.of(job.engine, job.model, limit)
    with Bar(len(scans)) as bar:
        outcomes = [bar.tell(outcome) for outcome in predict_scans(scans, job, bound=bound, watch=bar)]
    return _finish(given, outcomes, times=bar.describe())


def _job(given: argparse.Namespace) -> "Job":
    from segpipe.export.model_folder import read_model_folder
    from segpipe.inference.backends import build_engine
    from segpipe.inference.batch import Job
    from segpipe.inference.dicom_results import DICOM_WRITERS
    from segpipe.inference.operating_point import Wish, choose_point
    from segpipe.inference.predictor import PredictOptions
    from segpipe.inference.results import WRITERS, choose_writers
    from segpipe.report.viewer import write_page

    writers = choose_writers(given.output_format, {**WRITERS, "html": write_page, **DICOM_WRITERS})
    model = read_model_folder(given.model)
    wish = Wish(given.threshold, given.min_volume, given.sensitivity, given.fp_per_scan)
    flips = given.flips if given.flips is not None else tuple(model.operating_point.get("flips", ()))
    options = PredictOptions.at(choose_point(model.operating_point, wish), overlap=given.overlap, flips=flips)
    engine = build_engine(model, backend=given.backend, device=given.device, exact=given.exact)
    return Job(model, engine, options, writers, given.output, given.at)


def _finish(given: argparse.Namespace, outcomes: "Sequence[Outcome]", *, times: str) -> int:
    from segpipe.inference.results import write_table

    done = {outcome.scan.name: outcome.findings for outcome in outcomes if outcome.findings is not None}
    if "csv" in given.output_format:
        write_table(given.output, done)
    resumed = sum(outcome.resumed for outcome in outcomes)
    bad = [outcome.scan.name for outcome in outcomes if outcome.findings is None]
    print(
        f"{len(done)} scans, {sum(map(len, done.values()))} findings: {given.output}"
        + (f"\n{resumed} of them were done before" if resumed else "")
        + (f"\nleft out: {', '.join(bad)}" if bad else "")
        + (f"\ntime: {times}" if times else "")
    )
    return 2 if bad else 0
