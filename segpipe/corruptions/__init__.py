"""What chest CT suffers in practice, in five severities each: for a robustness test, or as an augmentation."""

from segpipe.corruptions.suite import CORRUPTIONS, SEVERITIES, Corruption, corrupt, find_corruption
from segpipe.corruptions.transform import RandCorruptiond

__all__ = ["CORRUPTIONS", "SEVERITIES", "Corruption", "RandCorruptiond", "corrupt", "find_corruption"]
