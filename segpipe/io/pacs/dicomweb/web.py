"""HTTP to one PACS and to nobody else: answers of bounded size and time, redirects only to where the request went."""

import ssl
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
import urllib3

from segpipe.errors import ConfigError
from segpipe.io.pacs.dicomweb.prompt_connections import PromptAdapter
from segpipe.io.pacs.errors import PacsFaultError, asking, refusal
from segpipe.io.pacs.limits import ANSWER_S, TooMuchError

JSON = "application/dicom+json"
_MOST_HOPS = 3
_PIECE = 2**16
_PORTS = {"http": 80, "https": 443}
_REDIRECTS = {301: ("GET",), 302: ("GET",), 303: ("GET",), 307: ("GET", "POST"), 308: ("GET", "POST")}
"""The methods that each status leaves as they are (RFC 9110, 15.4)."""


@dataclass(frozen=True)
class Request:
    """What is asked of a PACS; holds UIDs and patients' data, so it has no repr.

    Args:
        path: Below the address at which its DICOMweb begins.
        method: GET or POST.
        headers: Sent with it.
        query: Its parameters.
        body: Of a POST.
        accepted: The statuses that are no failure.
    """

    path: str = field(repr=False)
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    query: Mapping[str, str | int | list[str]] = field(default_factory=dict, repr=False)
    body: bytes | None = field(default=None, repr=False)
    accepted: Collection[int] = (200, 204)


class Session(requests.Session):
    """A session that sees redirects as answers: requests would read their bodies to the end before it asks anybody.

    Args:
        user: For basic authentication, or None.
        password: Of that user.
        authority: File with the certificates that the PACS's own is checked against; the system's by default.

    Raises:
        ConfigError: for a file without certificates.
    """

    def __init__(self, user: str | None = None, password: str | None = None, *, authority: Path | None = None) -> None:
        super().__init__()
        self.trust_env = False
        self.headers["Accept-Encoding"] = "identity"  # what is compressed may expand to anything
        for scheme in ("http://", "https://"):
            self.mount(scheme, PromptAdapter())
        if user is not None:
            self.auth = (user, password or "")
        if authority is not None:
            _check_authority(authority)
            self.verify = str(authority)

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """None, so that nothing is followed but by `Web`."""
        return None


class Answer:
    """What a PACS answers, read piece by piece and never as a whole unless it is small."""

    def __init__(self, response: requests.Response) -> None:
        self.status = response.status_code
        self.content_type = str(response.headers.get("Content-Type", ""))
        self._raw = response.raw
        # without a length, nothing is what a head that has broken off gives, too
        self._may_be_empty = any(name in response.headers for name in ("Content-Length", "Transfer-Encoding"))
        self._end = time.monotonic() + ANSWER_S

    def pieces(self, most: int) -> Iterator[bytes]:
        """The body as it arrives; what is said to be compressed is not expanded.

        Args:
            most: Bytes that it may have.

        Raises:
            TooMuchError: when it has more.
            urllib3.exceptions.HTTPError: when it breaks off or takes too long.
        """
        left = most
        while piece := self._raw.read1(_PIECE, decode_content=False):
            left -= len(piece)
            if left < 0:
                raise TooMuchError(f"{most} bytes of an answer")
            if time.monotonic() > self._end:
                raise urllib3.exceptions.TimeoutError
            yield piece
        if left == most and self.status != 204 and not self._may_be_empty:
            raise urllib3.exceptions.ProtocolError


class Web:
    """Asks one PACS.

    Args:
        base: Where its DICOMweb begins.
        place: The same, as messages may name it.
        session: Holds user, password and trust.
        timeout_s: Seconds without a byte after which the PACS counts as away.
    """

    def __init__(self, base: str, place: str, *, session: Session, timeout_s: float) -> None:
        self.place = place
        self._base, self._session, self._timeout_s = base.rstrip("/"), session, timeout_s

    @contextmanager
    def ask(self, what: str, request: Request) -> Iterator[Answer]:
        """The answer to a request, to be read inside the block.

        Args:
            what: What it is for, e.g. `fetch a series`.
            request: See `Request`.

        Raises:
            PacsAwayError: when the PACS does not answer.
            PacsFaultError: when it fails, or answers with what is not DICOMweb.
            ServiceError: when it refuses.
        """
        with asking(self.place, what), self._send(request, f"{self._base}/{request.path}") as response:
            if response.status_code not in request.accepted:
                raise refusal(self.place, what, response.status_code)
            yield Answer(response)

    def _send(self, request: Request, url: str) -> requests.Response:
        query: Any = request.query
        for _ in range(_MOST_HOPS):
            response = self._session.request(
                request.method,
                url,
                params=query,
                data=request.body,
                headers=request.headers,
                timeout=self._timeout_s,
                stream=True,
            )
            if request.method not in _REDIRECTS.get(response.status_code, ()):
                return response
            response.close()
            url, query = urljoin(response.url, response.headers.get("Location", "")), None
            if _origin(url) not in _as_good_as(_origin(response.url)):
                break
        raise PacsFaultError(  # the target is not quoted, since it can be any text
            "the PACS redirects to where nothing may be sent",
            facts={"address": self.place},
            hint="only the same host and port are followed; name the address at which the PACS answers itself",
        )


def _origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port; user and password in it count as another host."""
    parts = urlsplit(url)
    host = parts.netloc if "@" in parts.netloc else parts.hostname
    return parts.scheme, host or "", parts.port or _PORTS.get(parts.scheme, 0)


def _as_good_as(origin: tuple[str, str, int]) -> list[tuple[str, str, int]]:
    """The origin itself, and the same host by TLS."""
    _, host, port = origin
    return [origin, ("https", host, _PORTS["https"] if port == _PORTS["http"] else port)]


def _check_authority(file: Path) -> None:
    try:
        ssl.create_default_context(cafile=file)
    except OSError as error:
        raise ConfigError(
            "--authority must be a file with certificates in PEM form",
            facts={"file": file, "found": error.strerror or "no certificate"},
        ) from error
