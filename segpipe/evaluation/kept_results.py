"""Figures of cases as files, so that an evaluation that was killed goes on and several can be put together."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from segpipe.evaluation.results import CaseResult, Detection, PredictedLesion, ReferenceLesion, VoxelCounts
from segpipe.system.files.atomic_write import write_text
from segpipe.system.files.plain_files import read_json

Item = TypeVar("Item")


@dataclass(frozen=True)
class KeptResults:
    """The figures of cases in a folder.

    Args:
        folder: The folder.
        settings: Everything that they depend on apart from the case, as plain data.
        masks: Where the predicted mask of each case must be as well, if anywhere.
    """

    folder: Path
    settings: Mapping[str, Any] = field(repr=False)
    masks: Path | None = None

    def find(self, name: str, stamp: str | None = None) -> CaseResult | None:
        """The figures of a case that is done with the same settings.

        Args:
            name: The case.
            stamp: Of its files; None takes any.
        """
        try:
            content = read_json(self._file(name))
            same = content["settings"] == self._digest and stamp in (None, content["stamp"])
            result = result_from_dict(content["result"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        there = self.masks is None or (self.masks / f"{name}.nii.gz").is_file()
        return result if same and there else None

    def keep(self, result: CaseResult, stamp: str) -> None:
        """Writes the figures of a case, the last thing that is done with it.

        Raises:
            OutputError: when they cannot be written.
        """
        content = {"settings": self._digest, "stamp": stamp, "result": asdict(result)}
        write_text(self._file(result.case), json.dumps(content, default=_plain), what="the figures of a case")

    @property
    def _digest(self) -> str:
        plain = json.loads(json.dumps(self.settings))  # as it is in a file
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}.json"


@dataclass(frozen=True)
class KeepingEvaluator(Generic[Item]):
    """Evaluates the cases whose figures are not yet kept.

    Args:
        evaluate: Item → the figures of its case.
        name: Item → name of its case.
        kept: Where they are kept.
    """

    evaluate: Callable[[Item], CaseResult]
    name: Callable[[Item], str]
    kept: KeptResults

    def __call__(self, item: Item) -> CaseResult:
        """The figures of a case."""
        stamp = stamp_of(item)
        found = self.kept.find(self.name(item), stamp)
        if found is None:
            found = self.evaluate(item)
            self.kept.keep(found, stamp)
        return found


def stamp_of(item: object) -> str:
    """Changes when a field of an item does, or a file that it names."""
    files = [value for value in vars(item).values() if isinstance(value, Path) and value.exists()]
    states = [(file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.sha256(repr((item, states)).encode()).hexdigest()


def result_from_dict(content: Mapping[str, Any]) -> CaseResult:
    """What `dataclasses.asdict` made of a result, and JSON of that.

    Raises:
        KeyError, TypeError: when it is none.
    """
    detections, voxels = content["detections"], content.get("voxels")
    lists = {
        "lesions": tuple(ReferenceLesion(**_with_tuples(row)) for row in content["lesions"]),
        "candidates": tuple(PredictedLesion(**_with_tuples(row)) for row in content["candidates"]),
        "detections": None if detections is None else tuple(Detection(**_with_tuples(row)) for row in detections),
        "voxels": None if voxels is None else VoxelCounts(**_with_tuples(voxels)),
        "classes": {name: result_from_dict(own) for name, own in content["classes"].items()},
    }
    return CaseResult(**{**content, **lists})


def _with_tuples(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in row.items()}


def _plain(value: Any) -> Any:
    """NumPy's numbers as Python's."""
    return value.item()
