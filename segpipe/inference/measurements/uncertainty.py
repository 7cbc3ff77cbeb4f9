"""How sure the network is of a finding, as figures of its voxels."""

from dataclasses import dataclass


@dataclass(frozen=True)
class FindingUncertainty:
    """Means over the voxels of a finding.

    Args:
        entropy_bits: Of the entropy: 0 is sure, 1 means that foreground and background are as likely everywhere.
        mutual_information_bits: Of the part of it in which the network's answers disagree.
    """

    entropy_bits: float
    mutual_information_bits: float
