"""Searches a PACS page by page; what is odd in its lists is left out and counted."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from segpipe.io.pacs.dicomweb.dicom_json import OddValueError, integer_of, read_entries, text_of, uid_of
from segpipe.io.pacs.dicomweb.web import JSON, Request, Web
from segpipe.io.pacs.errors import MissingError
from segpipe.io.pacs.limits import SEARCH_BYTES, SEARCH_ENTRIES, TooMuchError

_LOG = logging.getLogger("segpipe.pacs")
PAGE = 500
_STUDY, _SERIES, _INSTANCE = "0020000D", "0020000E", "00080018"
_INSTANCES, _BODY_PART, _MODALITY = "00201209", "00180015", "00080060"
_Found = TypeVar("_Found")


@dataclass(frozen=True)
class SeriesEntry:
    """A series as a PACS lists it; its UIDs never appear in a repr.

    Args:
        study_uid: Of its study.
        series_uid: Its own.
        instances: How many instances it has, None where the PACS does not say.
        body_part: Body Part Examined, or empty.
        modality: e.g. `CT`, or empty where the PACS does not say.
    """

    study_uid: str = field(repr=False)
    series_uid: str = field(repr=False)
    instances: int | None = None
    body_part: str = ""
    modality: str = "CT"

    @property
    def is_ct(self) -> bool:
        """True unless the PACS says otherwise."""
        return self.modality in ("CT", "")


class Searcher:
    """Searches a PACS.

    Args:
        web: Asks it.
    """

    def __init__(self, web: Web) -> None:
        self._web = web
        self._odd = 0

    def series(self, path: str, query: Mapping[str, str], *, study_uid: str = "") -> list[SeriesEntry]:
        """The series that the PACS lists.

        Args:
            path: Where to search.
            query: What for.
            study_uid: That of entries that do not name their study.

        Raises:
            ServiceError: when the PACS does not answer, refuses or knows no such path.
        """
        fields = {"includefield": [_INSTANCES, _BODY_PART, _STUDY, _MODALITY]}
        return self._search(path, {**query, **fields}, lambda entry: _series(entry, study_uid))

    def instances(self, path: str, query: Mapping[str, str]) -> list[str]:
        """UIDs of the instances that the PACS lists; none when there is nothing to list.

        Raises:
            ServiceError: when the PACS does not answer or refuses.
        """
        try:
            return self._search(path, query, lambda entry: uid_of(entry, _INSTANCE))
        except MissingError:
            return []

    def _search(self, path: str, query: Mapping[str, Any], read: Callable[[Any], _Found]) -> list[_Found]:
        """Each value once; a page without anything new is the last, since some PACS know no pages."""
        found: dict[_Found, None] = {}
        offset = odd = 0
        while True:
            known, begin = len(found), offset
            request = Request(path, headers={"Accept": JSON}, query={**query, "limit": PAGE, "offset": offset})
            with self._web.ask("search", request) as answer:
                for entry in read_entries(answer.pieces(SEARCH_BYTES)):
                    if offset == SEARCH_ENTRIES:
                        raise TooMuchError(f"{SEARCH_ENTRIES} entries in a list")
                    offset += 1
                    try:
                        found[read(entry)] = None
                    except OddValueError:
                        odd += 1
            if offset - begin < PAGE or len(found) == known:
                self._report(odd)
                return list(found)

    def _report(self, odd: int) -> None:
        """Once for as long as there are as many."""
        if odd and odd != self._odd:
            _LOG.warning("%d of the entries that the PACS lists are left out: they are not as DICOM has them", odd)
        self._odd = odd


def _series(entry: Any, study_uid: str) -> SeriesEntry:
    found = SeriesEntry(
        uid_of(entry, _STUDY) or study_uid,
        uid_of(entry, _SERIES),
        integer_of(entry, _INSTANCES),
        text_of(entry, _BODY_PART),
        text_of(entry, _MODALITY),
    )
    if not found.study_uid or not found.series_uid:
        raise OddValueError
    return found
