"""Where the service reads scans: below one folder, from one PACS, or what a viewer sends; nowhere else."""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from segpipe.case import Case
from segpipe.errors import ConfigError, ImageError
from segpipe.inference.batch.memory import TOO_LARGE
from segpipe.inference.batch.pacs_scans import fetch_scans
from segpipe.inference.batch.scans import Scan
from segpipe.inference.loaded_model import find_only_scan
from segpipe.io.images.volumes import SUFFIXES
from segpipe.io.pacs.address import Address
from segpipe.io.pacs.dicomweb.pacs import Pacs

SENT = (*SUFFIXES, ".zip")
"""Endings of what a viewer may send: an image, or a DICOM series as a zip file."""
_BYTES_PER_VOXEL = 3
"""int16 image and mask."""


@dataclass(frozen=True)
class Sources:
    """Where scans may come from.

    Args:
        memory: Bytes that a scan may take.
        root: The folder below which paths are opened, or None.
        pacs: The PACS from which series are fetched, or None.
        pacs_base: Where its DICOMweb begins.
    """

    memory: int
    root: Path | None = None
    pacs: Pacs | None = None
    pacs_base: str = ""

    def read_path(self, text: str) -> Case:
        """Reads a scan below the root.

        Raises:
            ConfigError: without a root, or for a path that leads out of it.
            ImageError: when there is no scan.
        """
        if self.root is None:
            raise ConfigError("this service opens no paths", hint="start it with --root DIR, or send the scan")
        root = self.root.resolve()
        path = (root / text).resolve()
        if not path.is_relative_to(root):
            raise ConfigError("a path must lie below the service's root", hint="give it relative to --root")
        if not path.exists():
            raise ImageError("there is nothing at this path", hint="give it relative to --root")
        return self.read(find_only_scan(path))

    def read_series(self, study_uid: str, series_uid: str) -> Case:
        """Reads a series from the PACS.

        Raises:
            ConfigError: without a PACS.
            ServiceError: when the PACS is away or refuses.
            ImageError: when it is no CT series.
        """
        if self.pacs is None:
            raise ConfigError("this service knows no PACS", hint="start it with --dicomweb URL, or send the scan")
        with TemporaryDirectory(prefix="segpipe-", ignore_cleanup_errors=True) as folder:
            address = Address(self.pacs_base, study_uid, series_uid)
            scans = next(fetch_scans(self.pacs, address, Path(folder)))
            return self.read(scans[0])

    def read_sent(self, file: Path) -> Case:
        """Reads a scan that was sent.

        Raises:
            ImageError: when it is none.
        """
        return self.read(find_only_scan(file))

    def read(self, scan: Scan) -> Case:
        """Reads a scan that is not too large.

        Raises:
            ImageError: when it is.
        """
        voxels = scan.count_voxels()
        if voxels * _BYTES_PER_VOXEL > self.memory:
            raise ImageError(TOO_LARGE, facts={"voxels": voxels}, hint="crop the scan to the chest, or raise --memory")
        case = scan.read_case()
        return Case("scan", case.image, case.grid)  # whatever the file is called is nobody's business
