"""Predicts scans and says what became of them."""

import argparse
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segpipe.cli.common.point_flags import wish_of
from segpipe.cli.predict.flags import check_single

if TYPE_CHECKING:
    from segpipe.inference.batch.memory import MemoryBound
    from segpipe.inference.batch.runner import PredictionJob, ScanOutcome
    from segpipe.inference.batch.scans import Scan

Findings = Sequence[Mapping[str, Any]]


def predict_batches(
    given: argparse.Namespace, job: "PredictionJob", batches: "Iterable[Sequence[Scan]]", bound: "MemoryBound"
) -> "tuple[list[ScanOutcome], str]":
    """Predicts scans batch by batch; returns their outcomes, in the order of the scans, and the time per stage."""
    from segpipe.cli.common.progress import Bar
    from segpipe.inference.batch.dicom_results import check_sources
    from segpipe.inference.batch.runner import predict_scans

    outcomes: list[ScanOutcome] = []
    with Bar() as bar:
        for scans in batches:
            check_sources(scans, given.output_format)
            check_single(given, len(scans))
            bar.expect(len(scans))
            place = {scan.name: number for number, scan in enumerate(scans)}
            done = [bar.report(outcome) for outcome in predict_scans(scans, job, bound=bound, timer=bar)]
            outcomes += sorted(done, key=lambda outcome: place[outcome.scan.name])  # resumed ones came first
    return outcomes, bar.describe()


def report_outcomes(
    given: argparse.Namespace, job: "PredictionJob", outcomes: "Sequence[ScanOutcome]", *, times: str
) -> None:
    """Prints what became of the scans, how and in what time."""
    resumed = sum(outcome.resumed for outcome in outcomes)
    in_part = [outcome.scan.name for outcome in outcomes if outcome.error and outcome.findings is not None]
    print(describe_findings({outcome.scan.name: outcome.findings for outcome in outcomes}, in_part, given.output))
    print(
        (f"{resumed} of them were done before\n" if resumed else "")
        + f"operating point: {_describe_point(given, job)}"
        + f"\ncomputed by {getattr(job.engine, 'name', given.backend)}"
        + (f"\ntime: {times}" if times else "")
    )


def describe_findings(findings: Mapping[str, Findings | None], in_part: Sequence[str], output: Path) -> str:
    """How many findings there are, and which scans lack all of their results or some.

    Args:
        findings: Of each scan; None where it was left out.
        in_part: Scans that lack a format.
        output: The output folder.
    """
    found = [each for each in findings.values() if each is not None]
    bad = [name for name, each in findings.items() if each is None]
    referred = sum(bool((one.get("reliability") or {}).get("refer")) for each in found for one in each)
    return (
        f"{len(found)} scans, {sum(map(len, found))} findings: {output}"
        + (f"\na human should look at {referred} of them, whose outlines are the least sure" if referred else "")
        + (f"\nleft out: {', '.join(bad)}" if bad else "")
        + (f"\nnot in all formats: {', '.join(in_part)}" if in_part else "")
    )


def _describe_point(given: argparse.Namespace, job: "PredictionJob") -> str:
    """What a lesion must have to be a finding, and who chose that."""
    point, wish = job.options.point, wish_of(given)
    numbers = f"probability {point.threshold:g}, {point.min_volume_mm3:g} mm³, confidence {point.min_probability:g}"
    own = job.model.operating_point.get("origin", "of the model folder")
    return f"{numbers} ({'asked for' if wish != type(wish)() else own})"
