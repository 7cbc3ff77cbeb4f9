"""`python -m segpipe compare`: which run is better, by how much, where, and whether it is luck."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segpipe.cli.compare.flags import parse_flags

if TYPE_CHECKING:
    from segpipe.pipelines.comparison.compared_runs import ComparedRun


def run(argv: list[str]) -> int:
    """Compares; returns 0."""
    given = parse_flags(argv)
    from segpipe.evaluation.comparison.compare import compare
    from segpipe.evaluation.comparison.text import describe_comparison
    from segpipe.pipelines.comparison.compared_runs import find_compared_runs
    from segpipe.pipelines.comparison.comparison_tracking import (
        DEFAULT_URI,
        check_model,
        known_uri,
        register_best,
        report_comparison,
    )

    compared_runs = find_compared_runs(given.runs, uri=given.tracking_uri or DEFAULT_URI)
    report = compare([one.evaluation for one in compared_runs], metric=given.metric, force=given.force, seed=given.seed)
    page, missing = _write(given, report, compared_runs)  # before a word is printed, after which nobody may read on
    print(missing + describe_comparison(report))
    print(f"page  {page}")
    best = next(one for one in compared_runs if one.name == report["best"])
    if given.register:
        check_model(best)
    tracked = given.tracking_uri or given.register or any(one.run_id for one in compared_runs)
    if tracked and not given.no_tracking:
        uri = given.tracking_uri or known_uri(compared_runs) or DEFAULT_URI
        tracked = report_comparison(report, compared_runs, given.output, uri=uri)
        print(f"MLflow  {tracked.run_url}")
        if given.register:
            model = register_best(best, given.register, given.alias, uri=uri, fallback_run=str(tracked.run_id))
            print(f"registered  {model.uri}")
    return 0


def _write(given: argparse.Namespace, report: dict[str, Any], compared_runs: "list[ComparedRun]") -> tuple[Path, str]:
    """Writes `comparison.json` and `comparison.html`; returns the latter, and what is missing in it."""
    from segpipe.pipelines.comparison.differing_cases import draw_differing_cases
    from segpipe.report.comparison import draw_comparison, write_comparison
    from segpipe.system.files.atomic_write import write_json

    write_json(given.output / "comparison.json", report, what="the comparison")
    first, second = compared_runs[:2]
    cases, missing = draw_differing_cases(report["pairs"][0], first, second, data=given.data)
    charts = draw_comparison(report, first.evaluation.cases, second.evaluation.cases)
    page = write_comparison(given.output, report, charts=charts, overlays=cases.figures, views=cases.views)
    return page, f"{missing}\n" if missing else ""
