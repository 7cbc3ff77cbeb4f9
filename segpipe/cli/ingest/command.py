"""`python -m segpipe ingest`: turns what a user has into a data set, names the cases that are bad, checks data sets."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segpipe.cli.common.flags import VerbParser
from segpipe.cli.common.shard_flags import add_shard_flag
from segpipe.cli.ingest.reporting import report_dataset
from segpipe.cli.ingest.sharding import ingest_shard
from segpipe.datasets.sources.base import Flag, IngestRequest, Source
from segpipe.datasets.sources.registry import SOURCES, find_source, working_sources
from segpipe.errors import ConfigError
from segpipe.spelling import nearest


def run(argv: list[str]) -> int:
    """Ingests or checks; returns 0, or 2 when cases were left out or have errors."""
    given = _parser().parse_args(argv)
    if given.check:
        return _check(given)
    if given.plan:
        return _plan(given)
    if not given.source or not given.output:
        raise ConfigError(
            "--source and --output must be given, or --check, or --plan", hint="python -m segpipe ingest --help"
        )
    source = _source(given.source)
    request = _request(given, source)
    return ingest_shard(given.source, source, request) if request.shard else _ingest(source, request)


def _ingest(source: Source, request: IngestRequest) -> int:
    manifest, made = source.read(request)
    return report_dataset(manifest, request.output, errors=made.errors, notes=made.notes, new=made.new)


def _check(given: argparse.Namespace) -> int:
    from segpipe.datasets.manifest import read_manifest
    from segpipe.datasets.quality.dataset import check_dataset
    from segpipe.report.quality_page import write_quality

    quality = check_dataset(read_manifest(given.check), workers=given.workers)
    for issue in quality.issues:
        facts = "; ".join(f"{name}: {value}" for name, value in issue.facts.items())
        print(f"{issue.level:<8} {issue.case}  {issue.message}" + (f" ({facts})" if facts else ""))
    folder = given.check if given.check.is_dir() else given.check.parent
    _, page = write_quality(quality, folder)
    for name, count in quality.class_counts.items():
        print(f"{name}: {count} lesions")
    errors, warnings = quality.count("error"), quality.count("warning")
    print(f"{len(quality.cases)} cases, {errors} errors, {warnings} warnings: {page}")
    return 2 if errors else 0


def _plan(given: argparse.Namespace) -> int:
    from segpipe.cli.plan import plan

    plan(given.plan, given.memory, workers=given.workers)
    return 0


def _request(given: argparse.Namespace, source: Source) -> IngestRequest:
    flags = {flag.name: flag for flag in source.flags}
    others = set(_all_flags(working_sources())) - set(flags)
    foreign = sorted(f"--{name.replace('_', '-')}" for name in set(vars(given)) & others)
    if foreign:
        raise ConfigError(
            "flags that this source does not have", facts={"source": given.source, "flags": ", ".join(foreign)}
        )
    if source.needs_input and given.input is None:
        raise ConfigError("--input must be given", facts={"source": given.source, "reads": source.text})
    if given.input is not None and not given.input.exists():
        raise ConfigError("the input must exist", facts={"input": given.input})
    options = {name: getattr(given, name, flag.default) for name, flag in flags.items()}
    return IngestRequest(given.output, given.input, given.label, given.workers, options, given.shard)


def _source(name: str) -> Source:
    if name not in SOURCES:
        near = nearest(name, SOURCES)
        raise ConfigError(
            "unknown source",
            facts={"found": name, "known": ", ".join(SOURCES)},
            hint=f"--source {near}" if near else None,
        )
    return find_source(name)


def _all_flags(sources: Mapping[str, Source]) -> dict[str, Flag]:
    """By name; what two sources call the same is read as the first one says."""
    flags: dict[str, Flag] = {}
    for flag in (flag for source in sources.values() for flag in source.flags):
        flags.setdefault(flag.name, flag)
    return flags


def _parser() -> argparse.ArgumentParser:
    sources = working_sources()
    parser = VerbParser(
        "ingest",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="sources:\n" + "\n".join(f"  {name:<16} {source.text}" for name, source in sources.items()),
    )
    parser.add_argument("--source", metavar="KIND", help="what kind of data it is, see below")
    parser.add_argument("--output", type=Path, metavar="DATASET", help="the data set folder to make")
    parser.add_argument("--check", type=Path, metavar="DATASET", help="report and picture all that is wrong with it")
    parser.add_argument("--plan", type=Path, metavar="DATASET", help="measure it and propose a plan for training")
    parser.add_argument("--memory", default="8GB", metavar="SIZE", help="what a training step may take (default: 8GB)")
    parser.add_argument("--input", type=Path, metavar="DIR", help="what to read")
    parser.add_argument(
        "--label",
        default="nodule",
        metavar="NAME",
        help="what the masks show: the name of value 1, or 1=solid,2=ground_glass",
    )
    parser.add_argument("--workers", type=int, metavar="N", help="processes; by default one per core")
    add_shard_flag(parser.add_argument)
    for flag in _all_flags(sources).values():
        _add_flag(parser, flag, owners=[name for name, source in sources.items() if flag in source.flags])
    return parser


def _add_flag(parser: argparse.ArgumentParser, flag: Flag, *, owners: list[str]) -> None:
    value: dict[str, Any] = {"type": flag.kind, "metavar": "…"}
    parser.add_argument(
        f"--{flag.name.replace('_', '-')}",
        dest=flag.name,
        default=argparse.SUPPRESS,
        help=f"{flag.text} ({', '.join(owners)})",
        **({"action": "store_true"} if flag.default is False else value),
    )
