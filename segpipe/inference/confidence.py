"""What a model folder knows of the model's confidence, and what that says of each finding."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from segpipe.evaluation.calibration.findings import calibrated
from segpipe.evaluation.calibration.volumes import class_of
from segpipe.inference.findings import Finding
from segpipe.inference.measurements.reliability import Reliability


@dataclass(frozen=True)
class SizeClass:
    """Findings of one class of found volume.

    Args:
        from_mm3: Where it begins.
        low: Readers' volume / found volume is at least this, and
        high: at most this, with the stated coverage.
    """

    from_mm3: float
    low: float
    high: float


@dataclass(frozen=True)
class Confidence:
    """What a model knows of its confidence; see `segpipe.evaluation.calibration.fitting.fit_confidence`.

    Args:
        temperature: Divides the log odds of a voxel in maps of uncertainty.
        slope: Of the log odds of a finding's mean probability; None where no calibration is known.
        intercept: Of these.
        refer_below: The calibrated confidence below which a human should look.
        coverage: Of the intervals of volume.
        classes: Those intervals, by found volume.
    """

    temperature: float = 1.0
    slope: float | None = None
    intercept: float = 0.0
    refer_below: float = 0.0
    coverage: float | None = None
    classes: tuple[SizeClass, ...] = ()

    @classmethod
    def of(cls, stored: Mapping[str, Any] | None) -> "Confidence | None":
        """From the operating point of a model folder; None where nothing is known.

        Args:
            stored: `confidence` there.
        """
        if not stored:
            return None
        findings, volume = stored.get("findings") or {}, stored.get("volume") or {}
        classes = volume.get("classes", ())
        return cls(
            temperature=(stored.get("voxels") or {}).get("temperature", 1.0),
            slope=findings.get("slope"),
            intercept=findings.get("intercept", 0.0),
            refer_below=(stored.get("refer") or {}).get("below", 0.0),
            coverage=volume.get("coverage"),
            classes=tuple(SizeClass(own["from_mm3"], own["low"], own["high"]) for own in classes),
        )

    def add_to(self, findings: Sequence[Finding]) -> list[Finding]:
        """The same findings, each with how far it can be relied on; as they are where nothing is known of that."""
        if self.slope is None and not self.classes:
            return list(findings)
        return [replace(finding, reliability=self._reliability(finding)) for finding in findings]

    def _reliability(self, finding: Finding) -> Reliability:
        known = Reliability()
        if self.slope is not None:
            sure = float(calibrated(np.array(finding.mean_probability), self.slope, self.intercept))
            known = Reliability(sure, sure < self.refer_below)
        if not self.classes or finding.cut_by:  # of a cut lesion the rest is unknown
            return known
        begins = [own.from_mm3 for own in self.classes]
        own = self.classes[int(class_of(np.array(finding.volume_mm3), begins))]
        low, high = finding.volume_mm3 * own.low, finding.volume_mm3 * own.high
        return replace(known, volume_low_mm3=low, volume_high_mm3=high, volume_coverage=self.coverage)
