"""Addresses of a PACS and of what lies in it, checked before anything is asked; messages never quote a UID."""

import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from segpipe.errors import ConfigError

_UID = r"(?=[0-9.]{1,64}(?![0-9.]))[0-9]+(?:\.[0-9]+)*"
UID = re.compile(_UID)
"""Only digits between single dots: nothing else may become a part of an address or of a path."""
_PATH = re.compile(rf"(?P<base>.*?)/studies/(?P<study>{_UID})(/series/(?P<series>{_UID}))?/?")
_LOCAL = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Address:
    """A study or a series in a PACS; its UIDs never appear in a repr.

    Args:
        base: Where the PACS's DICOMweb begins.
        study_uid: The study.
        series_uid: One series of it, or None for all.
    """

    base: str
    study_uid: str = field(repr=False)
    series_uid: str | None = field(repr=False, default=None)

    @classmethod
    def parse(cls, url: str) -> "Address":
        """Reads an address.

        >>> Address.parse("https://pacs.example/dicom-web/studies/1.2/series/3.4").base
        'https://pacs.example/dicom-web'

        Raises:
            ConfigError: when it names no study.
        """
        parts = urlsplit(url)
        found = _PATH.fullmatch(parts.path)
        if found is None:
            raise ConfigError(
                "a DICOMweb address must name a study, or a study and a series of it",
                facts={"found": f"an address at {parts.hostname or 'no host'}"},
                hint="e.g. https://pacs.example/dicom-web/studies/1.2.3/series/4.5.6",
            )
        base = parts._replace(path=found["base"], query="", fragment="").geturl()
        return cls(base, found["study"], found["series"])


def is_address(text: str) -> bool:
    """True for an http or https address.

    >>> is_address("https://pacs.example/dicom-web/studies/1.2"), is_address("scans/1.nii.gz")
    (True, False)
    """
    return text.lower().startswith(("http://", "https://"))


def check_url(url: str, *, user: str | None) -> None:
    """Checks where a PACS's DICOMweb begins.

    Raises:
        ConfigError: for no http or https address, or one by which a password would be seen.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(
            "--dicomweb must be an http or https address",
            facts={"found": without_secrets(url)},
            hint="e.g. --dicomweb https://pacs.example/dicom-web",
        )
    if parts.username or parts.password:
        raise ConfigError("the address may not hold a password", hint="use --user and --password-env")
    if user is not None and parts.scheme == "http" and parts.hostname not in _LOCAL:
        raise ConfigError(
            "a password may not travel in the clear",
            facts={"address": without_secrets(url)},
            hint="use https; over http only a PACS on this machine gets a password",
        )


def without_secrets(url: str) -> str:
    """The address without user, password and query."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rsplit("@", 1)[-1], query="", fragment="").geturl()
