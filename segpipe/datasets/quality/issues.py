"""What checking a data set finds: issues, and what is known of each case."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, SupportsBytes

Level = Literal["error", "warning"]


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
    thumbnail: SupportsBytes = b""


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

    @property
    def class_counts(self) -> dict[str, int]:
        """Of each lesion label, where there are several, how many lesions there are."""
        counts: Counter[str] = Counter()
        for case in self.cases:
            counts.update({name: own["lesions"] for name, own in case.facts.get("classes", {}).items()})
        return dict(counts)

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
