"""`python -m segpipe merge`: makes of the shards of a job what one call for all scans makes."""

from argparse import Namespace
from collections.abc import Callable, Mapping
from pathlib import Path

from segpipe.cli.common.flags import VerbParser
from segpipe.cli.evaluate.sharding import merge_evaluations
from segpipe.cli.ingest.sharding import merge_datasets
from segpipe.cli.predict.sharding import merge_predictions
from segpipe.errors import ConfigError
from segpipe.system.files.held_folder import hold
from segpipe.system.shards.merging import MergedJob, describe_shards, gather, merge_records

_MERGE: Mapping[str, Callable[[MergedJob, Path], int]] = {
    "predict": merge_predictions,
    "evaluate": merge_evaluations,
    "ingest": merge_datasets,
}


def run(argv: list[str]) -> int:
    """Merges; returns what one call for all scans would: 0, or 2 when cases were left out.

    Raises:
        ConfigError: when shards are missing or are not of one job.
    """
    given = _parser().parse_args(argv)
    output = _output(given)
    with hold(output, marks_errors=False):
        if given.folders != [output]:
            gather(given.folders, output)
        job = merge_records(output, allow_missing=given.allow_missing)
        if job.verb not in _MERGE:
            raise ConfigError("the shards are of another version of segpipe", facts={"verb": job.verb})
        code = _MERGE[job.verb](job, output)
    if job.missing:
        print(f"without the shards {describe_shards(job.missing)}")
    return code


def _output(given: Namespace) -> Path:
    absent = [str(folder) for folder in given.folders if not folder.is_dir()]
    if absent:
        raise ConfigError("the folders of shards must exist", facts={"not there": ", ".join(absent)})
    if given.output is None and len(given.folders) > 1:
        raise ConfigError("the shards of several folders need an --output", facts={"folders": len(given.folders)})
    output: Path = given.output or given.folders[0]
    output.mkdir(parents=True, exist_ok=True)
    return output


def _parser() -> VerbParser:
    parser = VerbParser("merge", description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="the --output of the shards")
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="where shards of several folders are copied together"
    )
    parser.add_argument("--allow-missing", action="store_true", help="merge the shards that are done")
    return parser
