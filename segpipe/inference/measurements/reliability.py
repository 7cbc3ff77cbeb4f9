"""How far a finding can be relied on, by what the model knows of its own confidence."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Reliability:
    """What is known of a finding beyond the network's own probability; docs/uncertainty.md.

    Args:
        confidence: The calibrated probability that it is right: that readers' outline has a Dice of at least 0.8; None
            where no calibration is known.
        refer: Whether a human should look at its outline: it is among the least sure ones; None likewise.
        volume_low_mm3: Readers' volume is at least this, and
        volume_high_mm3: at most this, with the stated coverage; None where the outline is cut or no interval is known.
        volume_coverage: Share of lesions whose volume lies between.
    """

    confidence: float | None = None
    refer: bool | None = None
    volume_low_mm3: float | None = None
    volume_high_mm3: float | None = None
    volume_coverage: float | None = None

    def describe(self) -> str:
        """In words, for reports."""
        words = []
        if self.confidence is not None:
            sure = f"calibrated confidence in the outline {100 * self.confidence:.0f} %"
            words.append(f"{sure}: a human should look at it" if self.refer else sure)
        if self.volume_low_mm3 is not None and self.volume_high_mm3 is not None:
            coverage = f"{100 * (self.volume_coverage or 0):.0f} % prediction interval"
            words.append(f"volume {self.volume_low_mm3:.0f} to {self.volume_high_mm3:.0f} mm³ ({coverage})")
        return "; ".join(words)
