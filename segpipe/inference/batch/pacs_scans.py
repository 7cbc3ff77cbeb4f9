"""The scans behind a DICOMweb address, fetched series by series into a folder that its owner empties."""

import hashlib
import logging
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from segpipe.errors import ImageError, raise_together
from segpipe.inference.batch.scans import Scan, find_scans, number_clashes
from segpipe.io.pacs.address import Address
from segpipe.io.pacs.dicomweb.pacs import Pacs, SeriesEntry

_LOG = logging.getLogger("segpipe.predict")


def fetch_scans(pacs: Pacs, address: Address, folder: Path) -> Iterator[list[Scan]]:
    """Fetches the CT series of a study, or the one that the address names; yields the scans of each before the next.

    A scan is called `series-` and twelve hex digits that its study and series alone decide, so that a second call
    resumes and two studies can go to one output folder. Series without enough slices, e.g. localizers, are named last
    and left out.

    Args:
        pacs: Where the address begins.
        address: A study or a series.
        folder: An empty folder.

    Raises:
        ImageError: when there is no CT series, or none that can be predicted.
        ServiceError: when the PACS is away or refuses.
        OutputError: when the folder is too small.
    """
    found = 0
    errors: list[ImageError] = []
    for entry in _ct_series(pacs.find_in_study(address.study_uid, address.series_uid)):
        place = folder / _name(entry)
        pacs.fetch(entry.study_uid, entry.series_uid, folder=place)
        _make_timeless(place)
        try:
            scans = number_clashes(find_scans(place))
        except ImageError as error:
            errors.append(ImageError(error.message, facts={"scan": place.name, **error.facts}, hint=error.hint))
            shutil.rmtree(place)
            continue
        found += len(scans)
        yield scans
    if not found:
        raise_together(errors, headline="no series at the address can be predicted")
    for skipped in errors:
        _LOG.warning("%s is left out: %s", skipped.facts["scan"], skipped.message)


def _ct_series(found: Sequence[SeriesEntry]) -> list[SeriesEntry]:
    series = [entry for entry in found if entry.is_ct]
    if series:
        return series
    kinds = Counter(entry.modality for entry in found)
    instead = ", ".join(f"{count} × {kind}" for kind, count in sorted(kinds.items()))
    raise ImageError(
        "there is no CT series at the DICOMweb address",
        facts={"found": instead or "nothing"},
        hint="is the address one of a CT, and may this user see it?" if instead else "check study and series",
    )


def _name(entry: SeriesEntry) -> str:
    uids = f"{entry.study_uid}\0{entry.series_uid}"  # two patients can share a series UID
    return "series-" + hashlib.sha256(uids.encode()).hexdigest()[:12]


def _make_timeless(folder: Path) -> None:
    """The same series fetched twice counts as unchanged, so that a second call resumes."""
    for file in folder.iterdir():
        os.utime(file, (0, 0))
