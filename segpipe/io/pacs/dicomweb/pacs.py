"""Talks DICOMweb with a PACS: finds series, fetches them, stores results; no message ever quotes a UID."""

import secrets
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

from segpipe.errors import ServiceError
from segpipe.io.pacs.address import UID, check_url, without_secrets
from segpipe.io.pacs.dicomweb.dicom_json import first_of, integer_of, parse
from segpipe.io.pacs.dicomweb.fetching import write_instances
from segpipe.io.pacs.dicomweb.searching import Searcher, SeriesEntry
from segpipe.io.pacs.dicomweb.web import JSON, Request, Session, Web
from segpipe.io.pacs.errors import ForbiddenError, MissingError, PacsAwayError, PacsFaultError, refusal
from segpipe.io.pacs.instance_head import read_uids
from segpipe.io.pacs.limits import ANSWER_BYTES, SERIES_INSTANCES
from segpipe.io.pacs.names import instance_name

__all__ = ["Pacs", "SeriesEntry"]
_FAILED, _REASON = "00081198", "00081197"
_PROCESSING_FAILURE, _DUPLICATE, _OUT_OF_RESOURCES = 0x0110, 0x0111, range(0xA700, 0xA800)
_STORE, _CONFLICT = "store a result", 409
_MULTIPART = 'multipart/related; type="application/dicom"'


class Pacs:
    """A PACS behind a DICOMweb address.

    Args:
        url: e.g. `https://pacs.example/dicom-web`.
        user: For basic authentication, or None.
        password: Of that user.
        authority: File with the certificates that the PACS's own is checked against; the system's by default.
        timeout_s: Seconds without an answer after which the PACS counts as away.

    Raises:
        ConfigError: for an address that is none, or a file without certificates.
    """

    def __init__(
        self,
        url: str,
        *,
        user: str | None = None,
        password: str | None = None,
        authority: Path | None = None,
        timeout_s: float = 60.0,
    ) -> None:
        check_url(url, user=user)
        self.place = without_secrets(url)
        session = Session(user, password, authority=authority)
        self._web = Web(url, self.place, session=session, timeout_s=timeout_s)
        self._searcher = Searcher(self._web)

    def find_ct(self, *, days: int | None = None) -> list[SeriesEntry]:
        """Lists CT series.

        Args:
            days: Only those of studies that are at most so many days old.

        Raises:
            PacsAwayError: when the PACS does not answer.
            ServiceError: when it refuses.
        """
        query = {"Modality": "CT"}
        if days is not None:
            query["StudyDate"] = f"{date.today() - timedelta(days=days):%Y%m%d}-"
        try:
            return self._searcher.series("series", query)
        except ForbiddenError as error:  # a worker cannot do without, and somebody may be at the rights just now
            raise PacsFaultError(error.message, facts=error.facts, hint=error.hint) from None

    def find_in_study(self, study_uid: str, series_uid: str | None = None) -> list[SeriesEntry]:
        """Lists the series of a study, whatever they are, or the one that is named; none when it is not there.

        Raises:
            PacsAwayError: when the PACS does not answer.
            ServiceError: when it refuses.
        """
        query = {} if series_uid is None else {"SeriesInstanceUID": series_uid}
        try:
            found = self._searcher.series(f"studies/{_checked(study_uid)}/series", query, study_uid=study_uid)
        except MissingError:
            return []
        return [  # a PACS may know no filter
            entry for entry in found if entry.study_uid == study_uid and series_uid in (None, entry.series_uid)
        ]

    def fetch(self, study_uid: str, series_uid: str, *, folder: Path) -> int:
        """Writes the instances of a series into a folder, one file each; returns how many there were.

        Raises:
            PacsAwayError: when the PACS does not answer.
            PacsFaultError: when it gives fewer instances than it lists, or those of another series.
            ServiceError: when it refuses or has no such series.
            OutputError: when the folder cannot be written.
        """
        listed = max((entry.instances or 0 for entry in self.find_in_study(study_uid, series_uid)), default=0)
        request = Request(
            f"studies/{_checked(study_uid)}/series/{_checked(series_uid)}", headers={"Accept": _MULTIPART}
        )
        with self._web.ask("fetch a series", request) as answer:
            most = min(2 * listed or SERIES_INSTANCES, SERIES_INSTANCES)  # it may grow meanwhile; some PACS count late
            count = write_instances(answer, folder, series_uid=series_uid, most=most)
        if count < max(listed, 1):  # the missing end of a series would not be seen in what is there
            facts = {"address": self.place, "found": f"{count} of {listed} instances"}
            raise PacsFaultError("the PACS gave a series in part", facts=facts)
        return count

    def list_instances(self, study_uid: str, series_uid: str) -> frozenset[str]:
        """Names (see `instance_name`) of the instances that a series has; none when it is not there.

        Raises:
            PacsAwayError: when the PACS does not answer.
            ServiceError: when it refuses.
        """
        path = f"studies/{_checked(study_uid)}/series/{_checked(series_uid)}/instances"
        return frozenset(map(instance_name, self._searcher.instances(path, {})))

    def has(self, study_uid: str, instance_uid: str) -> bool:
        """True when an instance is in a study; the answer is compared, since some PACS ignore what they are asked for.

        Raises:
            PacsAwayError: when the PACS does not answer.
            ServiceError: when it refuses.
        """
        return instance_uid in self._searcher.instances(
            f"studies/{_checked(study_uid)}/instances", {"SOPInstanceUID": instance_uid}
        )

    def store(self, study_uid: str, files: Sequence[Path]) -> None:
        """Stores files in a study, one request each, in their order; what is there already is not sent again.

        Raises:
            PacsAwayError: when the PACS does not answer or has no room.
            PacsFaultError: when it fails.
            ServiceError: when it refuses or does not take one.
        """
        for file in files:
            with file.open("rb") as stream:
                *_, uid = read_uids(stream)
            if self.has(study_uid, uid):
                continue
            reason = self._send(file, study_uid)
            if reason not in (None, _DUPLICATE):
                raise self._not_taken(reason)

    def _send(self, file: Path, study_uid: str) -> int | None:
        """The reason for which the PACS did not take an object, None when it did."""
        boundary = secrets.token_hex(16)
        request = Request(
            f"studies/{_checked(study_uid)}",
            method="POST",
            headers={"Accept": JSON, "Content-Type": f"{_MULTIPART}; boundary={boundary}"},
            body=_wrapped(file, boundary),
            accepted=(200, 202, _CONFLICT),
        )
        with self._web.ask(_STORE, request) as answer:
            reason = _failure(b"".join(answer.pieces(ANSWER_BYTES)))
        if reason is None and answer.status == _CONFLICT:
            raise refusal(self.place, _STORE, _CONFLICT)
        return reason

    def _not_taken(self, reason: int) -> ServiceError:
        facts = {"address": self.place, "reason": f"0x{reason:04X}"}
        if reason in _OUT_OF_RESOURCES:
            return PacsAwayError("the PACS has no room for a result", facts=facts)
        hint = "look into the log of the PACS; it may not accept this kind of object"
        kind = PacsFaultError if reason == _PROCESSING_FAILURE else ServiceError
        return kind("the PACS did not take a result", facts=facts, hint=hint)


def _checked(uid: str) -> str:
    """Only what is a UID may become a part of an address."""
    if not UID.fullmatch(uid):
        raise ServiceError("a study and a series must have UIDs, digits between dots; the PACS is not asked for others")
    return uid


def _wrapped(file: Path, boundary: str) -> bytes:
    head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n"
    return head.encode() + file.read_bytes() + f"\r\n--{boundary}--\r\n".encode()


def _failure(content: bytes) -> int | None:
    """Why an object was not taken, in STOW's answer; None when it does not say so."""
    failed = first_of(parse(content), _FAILED) if content.strip() else None
    return None if failed is None else integer_of(failed, _REASON) or 0
