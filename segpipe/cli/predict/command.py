"""`python -m segpipe predict`: from scans and a model folder to masks and findings."""

import argparse
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from segpipe.cli.common.compute_flags import memory_limit
from segpipe.cli.common.point_flags import wish_of
from segpipe.cli.predict.flags import check_single, parse_flags
from segpipe.cli.predict.inputs import open_scans
from segpipe.system.held_folder import hold

if TYPE_CHECKING:
    from segpipe.inference.batch.memory import MemoryBound
    from segpipe.inference.batch.runner import PredictionJob, ScanOutcome
    from segpipe.inference.batch.scans import Scan


def run(argv: list[str]) -> int:
    """Predicts; returns 0, or 2 when scans or formats of results were left out."""
    given = parse_flags(argv)
    from segpipe.inference.batch.dicom_results import load_writers
    from segpipe.inference.batch.memory import BYTES_PER_VOXEL, MemoryBound

    limit = memory_limit(given)
    job = _job(given)
    if limit is not None:
        load_writers(given.output_format)
    per_voxel = BYTES_PER_VOXEL + given.uncertainty
    bound = MemoryBound.of(job.engine, job.model, limit, per_voxel=per_voxel)
    with _output_of_one(given.output):
        with open_scans(given) as batches:
            outcomes, times = _predict(given, job, batches, bound)
        _report(given, job, outcomes, times=times)
        if given.follow_up and outcomes[0].findings is not None:
            _follow_up(given, outcomes[0].scan.name)
    return 2 if any(outcome.error for outcome in outcomes) else 0


@contextmanager
def _output_of_one(folder: Path) -> Iterator[None]:
    """Two calls in one folder would take each other's files for those of another model, and both write the table.

    A folder that the call has made is removed when nothing was written.

    Raises:
        ConfigError: when another call writes there.
    """
    is_new = not folder.exists()
    with suppress(OSError):  # which the first result reports
        folder.mkdir(parents=True, exist_ok=True)
    try:
        with hold(folder, hint="wait until it has ended, or choose another --output", marks_errors=False):
            yield
    finally:
        with suppress(OSError):  # it holds something
            if is_new:
                folder.rmdir()


def _predict(
    given: argparse.Namespace, job: "PredictionJob", batches: "Iterable[Sequence[Scan]]", bound: "MemoryBound"
) -> "tuple[list[ScanOutcome], str]":
    from segpipe.cli.common.progress import Bar
    from segpipe.inference.batch.dicom_results import check_sources
    from segpipe.inference.batch.runner import predict_scans

    outcomes = []
    with Bar() as bar:
        for scans in batches:
            check_sources(scans, given.output_format)
            check_single(given, len(scans))
            bar.expect(len(scans))
            outcomes += [bar.report(outcome) for outcome in predict_scans(scans, job, bound=bound, timer=bar)]
    return outcomes, bar.describe()


def _job(given: argparse.Namespace) -> "PredictionJob":
    from segpipe.export.model_folder import read_model_folder
    from segpipe.inference.batch.dicom_results import DICOM_WRITERS
    from segpipe.inference.batch.results import WRITERS, choose_writers
    from segpipe.inference.batch.runner import PredictionJob
    from segpipe.inference.engines.backends import build_engine
    from segpipe.inference.operating_point import choose_point
    from segpipe.inference.predictor import PredictOptions
    from segpipe.inference.window.region import require_lungs
    from segpipe.report.viewer import write_page

    writers = choose_writers(given.output_format, {**WRITERS, "html": write_page, **DICOM_WRITERS})
    model = read_model_folder(given.model)
    flips = given.flips if given.flips is not None else tuple(model.operating_point.get("flips", ()))
    region = require_lungs if given.search == "lungs" else None
    point = choose_point(model.operating_point, wish_of(given))
    more = {"overlap": given.overlap, "flips": flips, "region": region, "keep_entropy": given.uncertainty}
    options = PredictOptions.at(point, **more)
    engine = build_engine(model, backend=given.backend, device=given.device, exact=given.exact)
    return PredictionJob(model, engine, options, writers, given.output, given.at)


def _report(given: argparse.Namespace, job: "PredictionJob", outcomes: "Sequence[ScanOutcome]", *, times: str) -> None:
    from segpipe.inference.batch.results import write_table

    done = {outcome.scan.name: outcome.findings for outcome in outcomes if outcome.findings is not None}
    if "csv" in given.output_format:
        write_table(given.output, done)
    resumed = sum(outcome.resumed for outcome in outcomes)
    bad = [outcome.scan.name for outcome in outcomes if outcome.findings is None]
    in_part = [outcome.scan.name for outcome in outcomes if outcome.error and outcome.findings is not None]
    print(
        f"{len(done)} scans, {sum(map(len, done.values()))} findings: {given.output}"
        + (f"\n{resumed} of them were done before" if resumed else "")
        + (f"\nleft out: {', '.join(bad)}" if bad else "")
        + (f"\nnot in all formats: {', '.join(in_part)}" if in_part else "")
        + f"\noperating point: {_describe_point(given, job)}"
        + f"\ncomputed by {getattr(job.engine, 'name', given.backend)}"
        + (f"\ntime: {times}" if times else "")
    )


def _describe_point(given: argparse.Namespace, job: "PredictionJob") -> str:
    """What a lesion must have to be a finding, and who chose that."""
    point, wish = job.options.point, wish_of(given)
    numbers = f"probability {point.threshold:g}, {point.min_volume_mm3:g} mm³, confidence {point.min_probability:g}"
    own = job.model.operating_point.get("origin", "of the model folder")
    return f"{numbers} ({'asked for' if wish != type(wish)() else own})"


def _follow_up(given: argparse.Namespace, name: str) -> None:
    from segpipe.inference.follow_up.matching import describe_follow_up, follow_up

    file = follow_up(given.follow_up, given.output / f"{name}.json", days=given.days)
    print(describe_follow_up(file))
