"""A shard of a data set, and the list of cases that is made of all shards."""

import sys
from pathlib import Path
from typing import Any

from segpipe import __version__
from segpipe.cli.common.shard_flags import describe_shard
from segpipe.cli.ingest.reporting import report_dataset
from segpipe.datasets.ingested_cases import IngestResult
from segpipe.datasets.manifest import Entry, Manifest, entry_from_row, row_of_entry
from segpipe.datasets.sources.base import IngestRequest, Source
from segpipe.errors import ConfigError, SegpipeError, explain, merge_alike
from segpipe.system.shards.merging import MergedJob
from segpipe.system.shards.records import ShardRecord, begin_record, hold_output, write_record
from segpipe.system.shards.shard import Shard


def ingest_shard(name: str, source: Source, request: IngestRequest) -> int:
    """Makes the cases of a shard; returns 0, or 2 when cases were left out.

    Raises:
        ConfigError: when another call does the same shard, or another shard has other settings.
    """
    shard = request.shard
    assert shard is not None
    options = {option: str(value) for option, value in request.options.items()}
    settings = {"segpipe": __version__, "source": name, "label": request.label, "options": options}
    record = ShardRecord("ingest", shard, settings)
    with hold_output(request.output, shard, hint="wait until it has ended, or choose another --output"):
        begin_record(request.output, record, whole=["manifest.json"])
        manifest, made = source.read(request)
        _check_share(made, shard, name)
        outcomes = [_result(outcome, request.output) for outcome in made.outcomes]
        about = {"manifest": _plain(manifest, request.output), "notes": made.notes, "new": made.new}
        write_record(request.output, record.finish(made.names, outcomes, **about))
    for error in merge_alike(made.errors):
        print(explain(error), file=sys.stderr)
    print(describe_shard(shard, len(made.entries), len(made.names), request.output))
    return 2 if made.errors else 0


def merge_datasets(job: MergedJob, output: Path) -> int:
    """Writes the manifest as one call for all cases does; returns what it would."""
    about = job.about[0]["manifest"]
    rows = [result["entry"] for result in job.results if not result["error"]]
    manifest = Manifest(
        about["name"] or output.resolve().name,
        about["source"],
        tuple(entry_from_row(row, output, where="the record of a shard") for row in rows),
        {int(value): name for value, name in about["labels"].items()},
    )
    errors = [result["error"] for result in job.results if result["error"]]
    notes = dict.fromkeys(note for one in job.about for note in one["notes"])
    return report_dataset(manifest, output, errors=errors, notes=list(notes), new=sum(one["new"] for one in job.about))


def _check_share(made: IngestResult, shard: Shard, source: str) -> None:
    if len(made.outcomes) != len(shard.share(made.names)):
        raise ConfigError(
            "the source does not know shards", facts={"source": source}, hint="make_cases(…, shard=request.shard)"
        )


def _result(outcome: Entry | SegpipeError, output: Path) -> dict[str, Any] | SegpipeError:
    return outcome if isinstance(outcome, SegpipeError) else {"entry": row_of_entry(outcome, output)}


def _plain(manifest: Manifest, output: Path) -> dict[str, Any]:
    """A data set without its cases; the name is None where it is that of the folder."""
    name = None if manifest.name == output.resolve().name else manifest.name
    return {"name": name, "source": manifest.source, "labels": dict(manifest.labels)}
