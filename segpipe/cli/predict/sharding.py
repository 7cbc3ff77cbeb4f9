"""A shard of a prediction, and the table that is made of all shards."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from segpipe.cli.common.shard_flags import describe_shard
from segpipe.cli.predict.inputs import open_scans
from segpipe.cli.predict.outcomes import describe_findings, predict_batches, report_outcomes
from segpipe.errors import OutputError, explain
from segpipe.system.shards.merging import MergedJob
from segpipe.system.shards.records import ShardRecord, begin_record, write_record

if TYPE_CHECKING:
    from segpipe.inference.batch.memory import MemoryBound
    from segpipe.inference.batch.runner import PredictionJob


def predict_shard(given: argparse.Namespace, job: "PredictionJob", bound: "MemoryBound") -> int:
    """Predicts the scans of a shard; returns 0, or 2 when scans or formats of results were left out."""
    from segpipe.inference.batch.results import TABLE

    record = ShardRecord("predict", given.shard, {**job.settings, "table": "csv" in given.output_format})
    begin_record(given.output, record, whole=[TABLE])
    with open_scans(given) as batches:
        (scans,) = batches
        names = [scan.name for scan in scans]
        own = [scans[position] for position in given.shard.share(names)]
        outcomes, times = predict_batches(given, job, [own], bound)
    errors = [one.error and one.error.with_facts(scan=one.scan.name) for one in outcomes]
    write_record(given.output, record.finish(names, errors))
    report_outcomes(given, job, outcomes, times=times)
    print(describe_shard(given.shard, len(outcomes), len(names), given.output))
    return 2 if any(outcome.error for outcome in outcomes) else 0


def merge_predictions(job: MergedJob, output: Path) -> int:
    """Writes the table of findings as one call for all scans does; returns what it would.

    Raises:
        OutputError: when the results of a scan have gone, or are of another call.
    """
    from segpipe.inference.batch.records import Records
    from segpipe.inference.batch.results import write_table

    records = Records(output, {name: value for name, value in job.settings.items() if name != "table"})
    found = {result["name"]: records.find_findings(result["name"]) for result in job.results}
    errors = {result["name"]: result["error"] for result in job.results if result["error"]}
    gone = [name for name, findings in found.items() if findings is None and name not in errors]
    if gone:
        raise OutputError(
            "the results of all scans must be there, and of one call",
            facts={"folder": output, "without": ", ".join(gone[:8])},
            hint="run the shards again; what is there is kept",
        )
    if job.settings["table"]:
        write_table(output, {name: findings for name, findings in found.items() if findings is not None})
    for error in errors.values():
        print(explain(error), file=sys.stderr)
    print(describe_findings(found, [name for name in errors if found[name] is not None], output))
    return 2 if errors else 0
