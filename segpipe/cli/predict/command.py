"""`python -m segpipe predict`: from scans and a model folder to masks and findings."""

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from segpipe.cli.common.compute_flags import memory_limit
from segpipe.cli.common.model_flags import read_verify_key
from segpipe.cli.common.point_flags import wish_of
from segpipe.cli.predict.flags import parse_flags
from segpipe.cli.predict.inputs import open_scans
from segpipe.cli.predict.outcomes import predict_batches, report_outcomes
from segpipe.cli.predict.sharding import predict_shard
from segpipe.system.shards.records import hold_output
from segpipe.system.shards.shard import Shard

if TYPE_CHECKING:
    from segpipe.inference.batch.runner import PredictionJob, ScanOutcome


def run(argv: list[str]) -> int:
    """Predicts; returns 0, or 2 when scans or formats of results were left out."""
    given = parse_flags(argv)
    from segpipe.inference.batch.dicom_results import load_writers
    from segpipe.inference.batch.memory import MemoryBound

    limit = memory_limit(given)
    job = _job(given)
    if limit is not None:
        load_writers(given.output_format)
    bound = MemoryBound.of(job.engine, job.model, limit, per_voxel=_bytes_per_voxel(given))
    with _held_output(given.output, given.shard):
        if given.shard:
            return predict_shard(given, job, bound)
        with open_scans(given) as batches:
            outcomes, times = predict_batches(given, job, batches, bound)
        _write_table(given, outcomes)
        report_outcomes(given, job, outcomes, times=times)
        if given.follow_up:
            _report_follow_up(given.output / f"{outcomes[0].scan.name}.follow_up.json")
    return 2 if any(outcome.error for outcome in outcomes) else 0


def _bytes_per_voxel(given: argparse.Namespace) -> int:
    """What a voxel of a scan takes, with the maps that are asked for."""
    from segpipe.inference.batch.memory import BYTES_PER_VOXEL, MAP_PER_VOXEL, UNCERTAINTY_PER_VOXEL

    maps = (1 + bool(given.ratings)) * bool(given.explain)
    return BYTES_PER_VOXEL + UNCERTAINTY_PER_VOXEL * bool(given.uncertainty) + MAP_PER_VOXEL * maps


@contextmanager
def _held_output(folder: Path, shard: Shard | None) -> Iterator[None]:
    """Two calls in one folder would take each other's files for those of another model, and both write the table.

    Shards of one job are the exception.

    A folder that the call has made is removed when nothing was written.

    Raises:
        ConfigError: when another call writes there.
    """
    is_new = not folder.exists()
    with suppress(OSError):  # which the first result reports
        folder.mkdir(parents=True, exist_ok=True)
    try:
        with hold_output(folder, shard, hint="wait until it has ended, or choose another --output"):
            yield
    finally:
        with suppress(OSError):  # it holds something
            if is_new:
                folder.rmdir()


def _job(given: argparse.Namespace) -> "PredictionJob":
    from segpipe.export.model_folder import read_model_folder
    from segpipe.inference.batch.dicom_results import DICOM_WRITERS
    from segpipe.inference.batch.results import WRITERS, choose_writers
    from segpipe.inference.batch.runner import PredictionJob
    from segpipe.inference.engines.backends import build_engine
    from segpipe.inference.engines.gradients import require_gradients
    from segpipe.inference.operating_point import choose_point
    from segpipe.inference.options import PredictOptions
    from segpipe.inference.prompts.prompt import check_scope
    from segpipe.inference.ratings.rater import Rater
    from segpipe.inference.uncertainty.sampling import choose_method
    from segpipe.inference.window.region import require_lungs
    from segpipe.report.viewer import write_page

    writers = choose_writers(given.output_format, {**WRITERS, "html": write_page, **DICOM_WRITERS})
    model = read_model_folder(given.model, key=read_verify_key(given))
    if given.prompt:
        check_scope(given.prompt, model.recipe)
    region = require_lungs if given.search == "lungs" else None
    point = choose_point(model.operating_point, wish_of(given))
    engine = build_engine(model, backend=given.backend, device=given.device, exact=given.exact)
    uncertainty = choose_method(given.uncertainty, engine) if given.uncertainty else None
    more = {"overlap": given.overlap, "flips": given.flips, "region": region, "uncertainty": uncertainty}
    options = PredictOptions.of_model(point, model.operating_point, **more)
    if given.explain:
        require_gradients(engine, "--explain")
    rater = Rater.open(given.ratings, key=read_verify_key(given)) if given.ratings else None
    further = {"rater": rater, "explain": given.explain}
    job = PredictionJob(model, engine, options, writers, given.output, given.prompt, **further)
    return _since(job, given.follow_up, given.days) if given.follow_up else job


def _write_table(given: argparse.Namespace, outcomes: "Sequence[ScanOutcome]") -> None:
    from segpipe.inference.batch.results import write_table

    if "csv" in given.output_format:
        write_table(given.output, {one.scan.name: one.findings for one in outcomes if one.findings is not None})


def _report_follow_up(file: Path) -> None:
    from segpipe.inference.follow_up.words import describe_follow_up

    if file.is_file():  # scans that cannot be aligned leave none
        print(describe_follow_up(file))


def _since(job: "PredictionJob", earlier: Path, days: float | None) -> "PredictionJob":
    """The same job, which compares with an earlier scan as well."""
    from segpipe.inference.batch.results import write_follow_up
    from segpipe.inference.follow_up.comparing import read_predicted

    writers = {**job.writers, "follow-up": write_follow_up}
    return replace(job, writers=writers, earlier=read_predicted(earlier), days=days)
