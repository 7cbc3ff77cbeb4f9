"""Looks at every case of a data set and tells everything that is wrong with it, errors and warnings, all at once."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from math import exp, log
from operator import attrgetter
from typing import Any, Literal

import numpy as np

from segpipe.datasets.manifest import Entry, Manifest
from segpipe.errors import SegpipeError
from segpipe.system.parallel_map import parallel_map

Level = Literal["error", "warning"]
OUTLIER_FACTOR = 2.0
_OUTLIER_SPREADS = 6.0


@dataclass(frozen=True)
class Issue:
    """Something that is or may be wrong.

    Args:
        level: An error makes a case unusable or a result wrong; a warning asks for a look.
        kind: A short name that stays the same, for filters.
        message: One sentence.
        facts: What was found.
        case: The case, or None for the data set as a whole.
    """

    level: Level
    kind: str
    message: str
    facts: Mapping[str, Any]
    case: str | None = None


@dataclass(frozen=True)
class CaseQuality:
    """What was found in one case.

    Args:
        id: Of the case.
        issues: About it.
        facts: Shape, spacing, HU, lesions; empty where the scan cannot be read.
        digest: Of the voxels, to find the same scan under two names.
        thumbnail: PNG of the slice with most lesion, its outline drawn.
    """

    id: str
    issues: tuple[Issue, ...]
    facts: Mapping[str, Any]
    digest: str = ""
    thumbnail: bytes = b""


@dataclass(frozen=True)
class Quality:
    """What was found in a data set.

    Args:
        name: Of the data set.
        cases: In the order of the manifest, with the issues that comparing cases adds.
    """

    name: str
    cases: tuple[CaseQuality, ...]

    @property
    def issues(self) -> list[Issue]:
        """All issues, errors first."""
        found = [issue for case in self.cases for issue in case.issues]
        return sorted(found, key=lambda issue: issue.level != "error")

    def count(self, level: Level) -> int:
        """How many issues of a level there are."""
        return sum(issue.level == level for issue in self.issues)

    def to_dict(self) -> dict[str, Any]:
        """The content of `quality.json`."""
        return {
            "data": self.name,
            "cases": len(self.cases),
            "errors": self.count("error"),
            "warnings": self.count("warning"),
            "issues": [asdict(issue) for issue in self.issues],
            "facts": {case.id: dict(case.facts) for case in self.cases},
        }


def check_dataset(manifest: Manifest, *, workers: int | None = None, progress: bool = True) -> Quality:
    """Reads every case once, in parallel, and compares the cases with each other."""
    from segpipe.datasets.quality.case import check_case

    work: Callable[[Entry], CaseQuality] = partial(check_case, labels=dict(manifest.labels))
    title = "check" if progress else None
    found = dict(parallel_map(work, manifest.entries, name=attrgetter("id"), title=title, workers=workers))
    cases = [_checked(found[index], entry) for index, entry in enumerate(manifest.entries)]
    added: dict[str, list[Issue]] = defaultdict(list)
    for issue in [*_twins(cases, manifest.entries), *_torn_patients(manifest.entries), *_outliers(cases)]:
        added[str(issue.case)].append(issue)
    return Quality(
        manifest.name,
        tuple(
            CaseQuality(case.id, (*case.issues, *added[case.id]), case.facts, case.digest, case.thumbnail)
            for case in cases
        ),
    )


def _checked(outcome: CaseQuality | SegpipeError, entry: Entry) -> CaseQuality:
    if isinstance(outcome, CaseQuality):
        return outcome
    facts = {name: value for name, value in outcome.facts.items() if name != "case"}
    issue = Issue("error", "case cannot be checked", outcome.message, facts, entry.id)
    return CaseQuality(entry.id, (issue,), {})


def _twins(cases: Sequence[CaseQuality], entries: Sequence[Entry]) -> Iterable[Issue]:
    """The same voxels under two names; an error where it lets somebody be trained on and tested."""
    by_digest: dict[str, list[Entry]] = defaultdict(list)
    for case, entry in zip(cases, entries, strict=True):
        if case.digest:
            by_digest[case.digest].append(entry)
    for twins in by_digest.values():
        leaks = len({entry.patient for entry in twins}) > 1 or len({entry.split for entry in twins}) > 1
        for entry in twins if len(twins) > 1 else []:
            others = _some([other.id for other in twins if other is not entry])
            message = "the same scan is there under another name"
            yield Issue("error" if leaks else "warning", "identical scans", message, {"other": others}, entry.id)


def _torn_patients(entries: Sequence[Entry]) -> Iterable[Issue]:
    splits: dict[str, set[str]] = defaultdict(set)
    for entry in entries:
        splits[entry.patient].add(entry.split or "none")
    for entry in entries:
        if len(splits[entry.patient]) > 1:
            facts = {"patient": entry.patient, "splits": ", ".join(sorted(splits[entry.patient]))}
            yield Issue("error", "patient in two splits", "a patient is in more than one split", facts, entry.id)


def _outliers(cases: Sequence[CaseQuality]) -> Iterable[Issue]:
    """Voxel sizes and extents far from what the data set has; told from the median, which outliers do not move."""
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


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _triple(values: Sequence[float]) -> str:
    return " × ".join(f"{value:.2f}" for value in values) + " mm (sorted)"
