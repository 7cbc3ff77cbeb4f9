"""Talks DICOMweb with a PACS: finds series, fetches them, stores results; no message ever quotes a UID."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pydicom
import requests
from pydicom.dataset import Dataset

from segpipe.errors import ConfigError, ServiceError
from segpipe.io.dicom_files import quiet_pydicom

PAGE = 500
_WRONG_PASSWORD, _NOT_THERE = (401, 403), 404
_LATER = (408, 425, 429)


class PacsAwayError(ServiceError):
    """The PACS does not answer now; the same request may succeed later."""


@dataclass(frozen=True)
class SeriesEntry:
    """A series as a PACS lists it; its UIDs never appear in a repr.

    Args:
        study_uid: Of its study.
        series_uid: Its own.
        instances: How many instances it has, None where the PACS does not tell.
        body_part: Body Part Examined, or empty.
    """

    study_uid: str = field(repr=False)
    series_uid: str = field(repr=False)
    instances: int | None = None
    body_part: str = ""


class Pacs:
    """A PACS behind a DICOMweb address.

    Args:
        url: e.g. `https://pacs.example/dicom-web`.
        user: For basic authentication, or None.
        password: Of that user.
        authority: File with the certificates that the PACS's own is checked against; the system's by default.
        timeout_s: Seconds without an answer after which the PACS counts as away.

    Raises:
        ConfigError: for an address that is none.
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
        from dicomweb_client.api import DICOMwebClient

        _check_url(url, user)
        # the client's log tells the addresses it asks for, which hold UIDs
        for name in ("dicomweb_client", "dicomweb_client.web", "urllib3"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        session = requests.Session()
        session.trust_env = False
        if user is not None:
            session.auth = (user, password or "")
        if authority is not None:
            session.verify = str(authority)
        self.place = _without_secrets(url)
        self._client = DICOMwebClient(url.rstrip("/"), session=session, timeout=timeout_s)
        self._client.set_http_retry_params(retry=False)

    def find_ct(self, *, study_uid: str | None = None, days: int | None = None) -> list[SeriesEntry]:
        """Lists CT series.

        Args:
            study_uid: Only those of this study.
            days: Only those of studies that are at most so many days old.

        Raises:
            PacsAwayError: when the PACS does not answer.
            ServiceError: when it refuses.
        """
        filters: dict[str, Any] = {"Modality": "CT"}
        if days is not None:
            filters["StudyDate"] = f"{date.today() - timedelta(days=days):%Y%m%d}-"
        search = self._client.search_for_series
        fields = ["NumberOfSeriesRelatedInstances", "BodyPartExamined", "StudyInstanceUID"]
        found = self._pages(
            lambda offset: search(study_uid, search_filters=filters, fields=fields, limit=PAGE, offset=offset)
        )
        return [entry for answer in found if (entry := _entry(answer, study_uid))]

    def fetch(self, study_uid: str, series_uid: str, *, folder: Path) -> int:
        """Writes the instances of a series into a folder as 00001.dcm, 00002.dcm, …; returns how many there were.

        Raises:
            PacsAwayError: when the PACS does not answer.
            ServiceError: when it refuses or has no such series.
        """
        folder.mkdir(parents=True, exist_ok=True)
        count = 0
        with self._asking("fetch a series"), quiet_pydicom():
            for count, dataset in enumerate(self._client.iter_series(study_uid, series_uid), start=1):
                dataset.save_as(folder / f"{count:05d}.dcm", enforce_file_format=True)
        if not count:
            raise ServiceError("the PACS gave no instance of a series", facts={"address": self.place})
        return count

    def has(self, study_uid: str, instance_uid: str) -> bool:
        """True when an instance is in a study.

        Raises:
            PacsAwayError: when the PACS does not answer.
            ServiceError: when it refuses.
        """
        filters = {"SOPInstanceUID": instance_uid}
        try:
            with self._asking("search"):
                return bool(self._client.search_for_instances(study_uid, search_filters=filters))
        except _MissingError:
            return False

    def store(self, study_uid: str, files: Sequence[Path]) -> None:
        """Stores files in a study, one request each, in their order.

        Raises:
            PacsAwayError: when the PACS does not answer.
            ServiceError: when it refuses or does not take one.
        """
        for file in files:
            with self._asking("store a result"), quiet_pydicom():
                answer = self._client.store_instances([pydicom.dcmread(file)], study_uid)
            failed = answer.get("FailedSOPSequence") or []
            if len(failed):
                reason = f"0x{int(failed[0].get('FailureReason') or 0):04X}"
                raise ServiceError(
                    "the PACS did not take a result",
                    facts={"address": self.place, "reason": reason},
                    hint="look into the log of the PACS; it may not accept this kind of object",
                )

    def _pages(self, ask: Callable[[int], Sequence[Mapping[str, Any]]]) -> Iterator[Mapping[str, Any]]:
        """All answers; a PACS that does not know pages gives the first one again, which ends the search."""
        offset, first = 0, None
        while True:
            with self._asking("search"):
                page = ask(offset)
            if not page or page[0] == first:
                return
            first = page[0] if offset == 0 else first
            yield from page
            if len(page) < PAGE:
                return
            offset += len(page)

    @contextmanager
    def _asking(self, what: str) -> Iterator[None]:
        """Turns what can go wrong into one message without UIDs; the request's own text would quote its address."""
        try:
            yield
        except requests.HTTPError as error:
            raise self._refusal(what, error.response.status_code if error.response is not None else 0) from None
        except requests.exceptions.SSLError:
            raise ServiceError(
                "the certificate of the PACS cannot be trusted",
                facts={"address": self.place},
                hint="pass the certificate of its authority with --authority",
            ) from None
        except requests.RequestException as error:
            raise PacsAwayError(
                f"the PACS does not answer; could not {what}",
                facts={"address": self.place, "found": type(error).__name__},
                hint="check address and network; is the PACS running?",
            ) from None

    def _refusal(self, what: str, status: int) -> ServiceError:
        facts = {"address": self.place, "found": f"HTTP {status}"}
        if status in _WRONG_PASSWORD:
            hint = "check --user and the variable that --password-env names"
            return WrongPasswordError("the PACS refuses user and password", facts=facts, hint=hint)
        if status == _NOT_THERE:
            return _MissingError(f"the PACS does not know what was asked for; could not {what}", facts=facts,
                                 hint="does the address end where its DICOMweb begins?")  # fmt: skip
        kind = PacsAwayError if status >= 500 or status in _LATER else ServiceError
        return kind(f"the PACS refuses; could not {what}", facts=facts)


class WrongPasswordError(ServiceError):
    """The PACS knows no such user or password."""


class _MissingError(ServiceError):
    pass


def _check_url(url: str, user: str | None) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(
            "--dicomweb must be an http or https address",
            facts={"found": _without_secrets(url)},
            hint="e.g. --dicomweb https://pacs.example/dicom-web",
        )
    if parts.username or parts.password:
        raise ConfigError("the address may not hold a password", hint="use --user and --password-env")
    if user is not None and parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
        raise ConfigError(
            "a password may not travel in the clear",
            facts={"address": _without_secrets(url)},
            hint="use https; over http only a PACS on this machine gets a password",
        )


def _without_secrets(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rsplit("@", 1)[-1], query="", fragment="").geturl()


def _entry(answer: Mapping[str, Any], study_uid: str | None) -> SeriesEntry | None:
    dataset = Dataset.from_json(dict(answer))
    study, series = str(dataset.get("StudyInstanceUID") or study_uid or ""), str(dataset.get("SeriesInstanceUID") or "")
    if not study or not series:
        return None
    instances = dataset.get("NumberOfSeriesRelatedInstances")
    body = str(dataset.get("BodyPartExamined") or "")
    return SeriesEntry(study, series, None if instances is None else int(instances), body)
