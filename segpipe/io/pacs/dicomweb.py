"""Talks DICOMweb with a PACS: finds series, fetches them, stores results; no message ever quotes a UID."""

import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pydicom
import requests
from pydicom.dataset import Dataset

from segpipe.errors import ConfigError, OutputError, ServiceError
from segpipe.io.pacs.address import check_url, without_secrets
from segpipe.io.pacs.errors import MissingError, PacsAwayError, PacsFaultError, asking
from segpipe.io.pacs.names import instance_name

PAGE = 500
_FIELDS = ["NumberOfSeriesRelatedInstances", "BodyPartExamined", "StudyInstanceUID", "Modality"]
_PROCESSING_FAILURE, _DUPLICATE, _OUT_OF_RESOURCES = 0x0110, 0x0111, range(0xA700, 0xA800)
_CONFLICT = 409


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
        from dicomweb_client.api import DICOMwebClient

        check_url(url, user=user)
        session = requests.Session()
        session.trust_env = False
        if user is not None:
            session.auth = (user, password or "")
        if authority is not None:
            _check_authority(authority)
            session.verify = str(authority)
        self.place = without_secrets(url)
        self._client = DICOMwebClient(url.rstrip("/"), session=session, timeout=timeout_s)
        self._client.set_http_retry_params(retry=False)

    def find_ct(self, *, days: int | None = None) -> list[SeriesEntry]:
        """Lists CT series.

        Args:
            days: Only those of studies that are at most so many days old.

        Raises:
            PacsAwayError: when the PACS does not answer.
            ServiceError: when it refuses.
        """
        filters: dict[str, Any] = {"Modality": "CT"}
        if days is not None:
            filters["StudyDate"] = f"{date.today() - timedelta(days=days):%Y%m%d}-"
        return self._find(None, filters)

    def find_in_study(self, study_uid: str, series_uid: str | None = None) -> list[SeriesEntry]:
        """Lists the series of a study, whatever they are, or the one that is named; none when it is not there.

        Raises:
            PacsAwayError: when the PACS does not answer.
            ServiceError: when it refuses.
        """
        return self._find(study_uid, {} if series_uid is None else {"SeriesInstanceUID": series_uid})

    def fetch(self, study_uid: str, series_uid: str, *, folder: Path) -> int:
        """Writes the instances of a series into a folder, one file each; returns how many there were.

        Raises:
            PacsAwayError: when the PACS does not answer.
            PacsFaultError: when it gives fewer instances than it lists.
            ServiceError: when it refuses or has no such series.
            OutputError: when the folder cannot be written.
        """
        listed = max((entry.instances or 0 for entry in self.find_in_study(study_uid, series_uid)), default=0)
        count = 0
        with asking(self.place, "fetch a series"):
            for dataset in self._client.iter_series(study_uid, series_uid):
                _write(dataset, folder)
                count += 1
        facts = {"address": self.place, "found": f"{count} of {listed} instances"}
        if not count:
            raise ServiceError("the PACS gave no instance of a series", facts=facts)
        if count < listed:  # the missing end of a series would not be seen in what is there
            raise PacsFaultError("the PACS gave a series in part", facts=facts)
        return count

    def list_instances(self, study_uid: str, series_uid: str) -> frozenset[str]:
        """Names (see `instance_name`) of the instances that a series has; none when it is not there.

        Raises:
            PacsAwayError: when the PACS does not answer.
            ServiceError: when it refuses.
        """
        return frozenset(map(instance_name, self._instances(study_uid, series_uid)))

    def has(self, study_uid: str, instance_uid: str) -> bool:
        """True when an instance is in a study; the answer is compared, since some PACS ignore what they are asked for.

        Raises:
            PacsAwayError: when the PACS does not answer.
            ServiceError: when it refuses.
        """
        return instance_uid in self._instances(study_uid, filters={"SOPInstanceUID": instance_uid})

    def store(self, study_uid: str, files: Sequence[Path]) -> None:
        """Stores files in a study, one request each, in their order; what is there already is not sent again.

        Raises:
            PacsAwayError: when the PACS does not answer or has no room.
            PacsFaultError: when it fails.
            ServiceError: when it refuses or does not take one.
        """
        for file in files:
            dataset = pydicom.dcmread(file)
            if self.has(study_uid, str(dataset.SOPInstanceUID)):
                continue
            reason = self._send(dataset, study_uid)
            if reason not in (None, _DUPLICATE):
                raise self._not_taken(reason)

    def _send(self, dataset: Dataset, study_uid: str) -> int | None:
        """The reason for which the PACS did not take an object, None when it did."""
        with asking(self.place, "store a result"):
            try:
                answer = self._client.store_instances([dataset], study_uid)
            except requests.HTTPError as error:  # none was taken; the reason may be in the answer
                if error.response is None or error.response.status_code != _CONFLICT or not error.response.content:
                    raise
                answer = Dataset.from_json(error.response.json())
                if "FailedSOPSequence" not in answer:
                    raise
            failed = answer.get("FailedSOPSequence") or []
            return int(failed[0].get("FailureReason") or 0) if len(failed) else None

    def _instances(
        self, study_uid: str, series_uid: str | None = None, *, filters: dict[str, Any] | None = None
    ) -> set[str]:
        """UIDs of the instances that the PACS lists."""
        search = self._client.search_for_instances
        try:
            found = list(
                self._pages(
                    lambda offset: search(study_uid, series_uid, search_filters=filters, limit=PAGE, offset=offset)
                )
            )
        except MissingError:
            return set()
        with asking(self.place, "search"):
            return {str(Dataset.from_json(dict(answer)).get("SOPInstanceUID") or "") for answer in found} - {""}

    def _not_taken(self, reason: int) -> ServiceError:
        facts = {"address": self.place, "reason": f"0x{reason:04X}"}
        if reason in _OUT_OF_RESOURCES:
            return PacsAwayError("the PACS has no room for a result", facts=facts)
        hint = "look into the log of the PACS; it may not accept this kind of object"
        kind = PacsFaultError if reason == _PROCESSING_FAILURE else ServiceError
        return kind("the PACS did not take a result", facts=facts, hint=hint)

    def _find(self, study_uid: str | None, filters: dict[str, Any]) -> list[SeriesEntry]:
        search = self._client.search_for_series
        try:
            found = list(
                self._pages(
                    lambda offset: search(study_uid, search_filters=filters, fields=_FIELDS, limit=PAGE, offset=offset)
                )
            )
        except MissingError:
            if study_uid is None:
                raise
            return []
        with asking(self.place, "search"):
            return [entry for answer in found if (entry := _entry(answer, study_uid))]

    def _pages(self, ask: Callable[[int], Sequence[Mapping[str, Any]]]) -> Iterator[Mapping[str, Any]]:
        """All answers; a PACS that does not know pages gives the first one again, which ends the search."""
        offset, first = 0, None
        while True:
            with asking(self.place, "search"):
                page = ask(offset)
            if not page or page[0] == first:
                return
            first = page[0] if offset == 0 else first
            yield from page
            if len(page) < PAGE:
                return
            offset += len(page)


def _write(dataset: Dataset, folder: Path) -> None:
    name = instance_name(str(dataset.SOPInstanceUID))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        dataset.save_as(folder / f"{name}.dcm", enforce_file_format=True)
    except OSError as error:
        facts = {"folder": folder, "found": error.strerror}
        raise OutputError("a fetched series cannot be written", facts=facts, hint="is the disk full?") from error


def _check_authority(file: Path) -> None:
    try:
        ssl.create_default_context(cafile=file)
    except OSError as error:
        raise ConfigError(
            "--authority must be a file with certificates in PEM form",
            facts={"file": file, "found": error.strerror or "no certificate"},
        ) from error


def _entry(answer: Mapping[str, Any], study_uid: str | None) -> SeriesEntry | None:
    dataset = Dataset.from_json(dict(answer))
    study, series = str(dataset.get("StudyInstanceUID") or study_uid or ""), str(dataset.get("SeriesInstanceUID") or "")
    if not study or not series:
        return None
    instances = dataset.get("NumberOfSeriesRelatedInstances")
    body, modality = (str(dataset.get(name) or "") for name in ("BodyPartExamined", "Modality"))
    return SeriesEntry(study, series, None if instances is None else int(instances), body, modality)
