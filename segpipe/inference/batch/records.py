"""Which scans of an output folder are done, with what settings: a second call resumes where the first one stopped."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from segpipe.inference.batch.results import write_text
from segpipe.inference.batch.scans import Scan
from segpipe.inference.findings import Finding
from segpipe.inference.thumbnail import RECORDS
from segpipe.system.files.plain_files import read_json


class Records:
    """Which scans are done, with what, and what they left; kept next to the results in a hidden folder.

    Args:
        folder: The output folder.
        settings: Everything that a result depends on apart from the scan; other settings, other result.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self.folder = folder
        self.settings = json.loads(json.dumps(settings))

    def find(self, scan: Scan, *, whole: bool = True) -> dict[str, Any] | None:
        """The record of a scan that is done with the same settings and whose files are all still there.

        Args:
            scan: The scan.
            whole: Whether all formats must have been written.
        """
        record = self._read(scan.name)
        return record if record and record["stamp"] == scan.stamp and record["whole"] >= whole else None

    def find_findings(self, name: str) -> list[dict[str, Any]] | None:
        """The findings of a scan that is done with the same settings, whatever became of its own file since then."""
        record = self._read(name)
        return record["findings"] if record else None

    def keep(self, scan: Scan, files: Sequence[Path], findings: Sequence[Finding], *, whole: bool = True) -> None:
        """Records a scan as done; called last, when all its files are written.

        Args:
            scan: The scan.
            files: What it left.
            findings: Its findings.
            whole: Whether all formats were written; a scan that lacks one is done again by the next call.
        """
        record = {
            "whole": whole,
            "settings": self.settings,
            "stamp": scan.stamp,
            "files": [str(file.relative_to(self.folder)) for file in files],
            "findings": [finding.to_dict() for finding in findings],
        }
        write_text(self._file(scan.name), json.dumps(record))

    def forget(self, scan: Scan) -> None:
        """Removes what an earlier call with other settings left of a scan, so that no stale result is taken for new."""
        try:
            names = read_json(self._file(scan.name))["files"]
        except (OSError, ValueError, KeyError, TypeError):
            return
        for name in names:
            file = (self.folder / name).resolve()
            if file.is_relative_to(self.folder.resolve()):
                file.unlink(missing_ok=True)
        self._file(scan.name).unlink(missing_ok=True)

    def _read(self, name: str) -> dict[str, Any] | None:
        """A record with these settings, if it is whole and so are the files that it names."""
        try:
            record: dict[str, Any] = read_json(self._file(name))
            same = record["settings"] == self.settings and {"stamp", "whole", "findings"} <= set(record)
            there = all((self.folder / file).is_file() for file in record["files"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return record if same and there else None

    def _file(self, name: str) -> Path:
        return self.folder / RECORDS / f"{name}.json"
