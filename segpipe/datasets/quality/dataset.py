"""Checks every case of a data set, and the cases with each other: all errors and warnings at once."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from math import exp, log
from operator import attrgetter

import numpy as np

from segpipe.datasets.manifest import Entry, Manifest
from segpipe.datasets.quality.case import check_case
from segpipe.datasets.quality.issues import CaseQuality, Issue, Quality
from segpipe.datasets.quality.pictures import PictureStore
from segpipe.errors import SegpipeError
from segpipe.system.processes.parallel_map import parallel_map

OUTLIER_FACTOR = 2.0
_OUTLIER_SPREADS = 6.0
_SHOWN = 4


def check_dataset(manifest: Manifest, *, workers: int | None = None, progress: bool = True) -> Quality:
    """Reads every case once, in parallel, and compares the cases with each other."""
    work: Callable[[Entry], CaseQuality] = partial(check_case, labels=dict(manifest.labels))
    title = "check" if progress else None
    found, pictures = {}, PictureStore()
    for index, outcome in parallel_map(work, manifest.entries, name=attrgetter("id"), title=title, workers=workers):
        case = _checked(outcome, manifest.entries[index])
        found[index] = replace(case, thumbnail=pictures.add(bytes(case.thumbnail)))
    cases = [found[index] for index in range(len(manifest.entries))]
    return Quality(manifest.name, compare_cases(cases, manifest.entries))


def compare_cases(cases: Sequence[CaseQuality], entries: Sequence[Entry]) -> tuple[CaseQuality, ...]:
    """The same cases with what comparing them with each other adds.

    Args:
        cases: What was found in each case by itself.
        entries: The cases, in the same order.
    """
    added: dict[str, list[Issue]] = defaultdict(list)
    for issue in [*_duplicates(cases, entries), *_split_patients(entries), *_outliers(cases)]:
        added[str(issue.case)].append(issue)
    return tuple(replace(case, issues=(*case.issues, *added[case.id])) for case in cases)


def _checked(outcome: CaseQuality | SegpipeError, entry: Entry) -> CaseQuality:
    if isinstance(outcome, CaseQuality):
        return outcome
    facts = {name: value for name, value in outcome.facts.items() if name != "case"}
    issue = Issue("error", "case cannot be checked", outcome.message, facts, entry.id)
    return CaseQuality(entry.id, (issue,), {})


def _duplicates(cases: Sequence[CaseQuality], entries: Sequence[Entry]) -> Iterable[Issue]:
    """The same voxels under two names; an error where it lets somebody be trained on and tested."""
    by_digest: dict[str, list[Entry]] = defaultdict(list)
    for case, entry in zip(cases, entries, strict=True):
        if case.digest:
            by_digest[case.digest].append(entry)
    for duplicates in by_digest.values():
        leaks = len({entry.patient for entry in duplicates}) > 1 or len({entry.split for entry in duplicates}) > 1
        first = duplicates[: _SHOWN + 1]  # of which at least so many are others
        for entry in duplicates if len(duplicates) > 1 else []:
            others = _some([other.id for other in first if other is not entry], len(duplicates) - 1)
            message = "the same scan is there under another name"
            yield Issue("error" if leaks else "warning", "identical scans", message, {"other": others}, entry.id)


def _split_patients(entries: Sequence[Entry]) -> Iterable[Issue]:
    splits: dict[str, set[str]] = defaultdict(set)
    for entry in entries:
        splits[entry.patient].add(entry.split or "none")
    for entry in entries:
        if len(splits[entry.patient]) > 1:
            facts = {"patient": entry.patient, "splits": ", ".join(sorted(splits[entry.patient]))}
            yield Issue("error", "patient in two splits", "a patient is in more than one split", facts, entry.id)


def _outliers(cases: Sequence[CaseQuality]) -> Iterable[Issue]:
    """Voxel sizes and extents far from what the data set has; measured from the median, which outliers do not move."""
    for name in ("spacing_mm", "extent_mm"):
        known = [case for case in cases if name in case.facts]
        if len(known) < 5:
            continue
        values = np.log([sorted(case.facts[name]) for case in known])
        middle = np.median(values, axis=0)
        spread = np.maximum(np.median(np.abs(values - middle), axis=0) * 1.4826, log(OUTLIER_FACTOR) / _OUTLIER_SPREADS)
        for case, away in zip(known, np.abs(values - middle) / spread, strict=True):
            if away.max() > _OUTLIER_SPREADS:
                typical = " × ".join(f"{exp(value):.2f}" for value in middle)
                facts = {"found": _triple(sorted(case.facts[name])), "typical": f"{typical} mm (sorted)"}
                kind = "unusual " + ("voxel size" if name == "spacing_mm" else "extent")
                yield Issue(
                    "warning", kind, f"the {kind.split(' ', 1)[1]} is far from that of most cases", facts, case.id
                )


def _some(names: Sequence[str], count: int) -> str:
    """The first of so many names."""
    shown = names[:_SHOWN]
    return ", ".join(shown) + (f" and {count - len(shown)} more" if count > len(shown) else "")


def _triple(values: Sequence[float]) -> str:
    return " × ".join(f"{value:.2f}" for value in values) + " mm (sorted)"
