"""What is done to a scan in five severities, whatever it is: how its levels are named, and how it draws."""

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from segpipe.case import Case
from segpipe.errors import ConfigError

SEVERITIES = (1, 2, 3, 4, 5)
Levels = tuple[float, float, float, float, float]


@dataclass(frozen=True)
class Graded(ABC):
    """A change of a scan in five severities.

    Args:
        name: In configurations, flags and tables.
        levels: Of the severities 1 to 5.
        unit: Of the levels.
        source: Why these levels.
    """

    group: ClassVar[str] = "corruptions"
    """Changes of one group have a mean in common."""
    name: str
    levels: Levels
    unit: str
    source: str

    @abstractmethod
    def apply(self, case: Case, severity: int, *, seed: int = 0) -> Case:
        """The case after it.

        Raises:
            ConfigError: for another severity than 1 to 5.
        """

    def level(self, severity: int) -> float:
        """The level of a severity.

        Raises:
            ConfigError: for another severity than 1 to 5.
        """
        if severity not in SEVERITIES:
            raise ConfigError("a severity must be one of 1 to 5", facts={"found": severity})
        return self.levels[severity - 1]

    def generator(self, case: Case, seed: int) -> np.random.Generator:
        """Draws the same for every severity of a case."""
        digest = hashlib.sha256(f"{case.id} {self.name}".encode()).digest()
        return np.random.default_rng([seed, int.from_bytes(digest[:8], "big")])
