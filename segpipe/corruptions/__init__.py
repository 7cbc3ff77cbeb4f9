# ruff: noqa: E402 (MONAI is imported before any file here does it)
"""What chest CT suffers in practice, in five severities each: for a robustness test, or as an augmentation."""

from segpipe.system.light_imports import import_monai

import_monai()

from segpipe.corruptions.graded import SEVERITIES, Graded
from segpipe.corruptions.suite import CORRUPTIONS, Corruption, corrupt, find_corruption
from segpipe.corruptions.transform import RandCorruptiond

__all__ = ["CORRUPTIONS", "SEVERITIES", "Corruption", "Graded", "RandCorruptiond", "corrupt", "find_corruption"]
