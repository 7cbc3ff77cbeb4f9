"""What can go wrong with a PACS, by what a worker can do about it: wait, try again a few times, or end."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import requests
import urllib3
from pydicom.errors import InvalidDicomError

from segpipe.errors import ServiceError
from segpipe.io.pacs.limits import TooMuchError
from segpipe.io.quiet import quiet_libraries

_NOT_THERE = (404, 410)
_LATER = (408, 425, 429, 502, 503, 504, 507)


class PacsAwayError(ServiceError):
    """The PACS does not answer now, or has no room; the same request may succeed later."""


class PacsFaultError(ServiceError):
    """The PACS answers and fails at this very request; another try may help, a hundred will not."""


class PacsAccessError(ServiceError):
    """The PACS lets nobody in with what was given, or is not the one that it should be; no request will succeed."""


class WrongPasswordError(PacsAccessError):
    """The PACS knows no such user or password."""


class ForbiddenError(ServiceError):
    """The PACS knows the user and does not allow this request; others it may."""


class MissingError(PacsFaultError):
    """The PACS does not have what was asked for, or not yet."""


@contextmanager
def asking(place: str, what: str) -> Iterator[None]:
    """Turns what a request can meet into one message without UIDs; its own text would quote the address it asked.

    Args:
        place: The PACS, as messages may name it.
        what: What the request is for, e.g. `fetch a series`.

    Raises:
        PacsAwayError: when the PACS does not answer.
        PacsFaultError: when it fails at this request.
        PacsAccessError: for a wrong password or a certificate that cannot be trusted.
        ServiceError: when it refuses.
    """
    try:
        with quiet_libraries():  # the client's log shows the addresses it asks for, which hold UIDs
            yield
    except requests.exceptions.SSLError as error:
        raise _untrusted(place, error) from None
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise PacsAwayError(
            f"the PACS does not answer; could not {what}",
            facts={"address": place, "found": type(error).__name__},
            hint="check address and network; is the PACS running?",
        ) from None
    except TooMuchError as error:
        facts = {"address": place, "limit": error}
        raise PacsFaultError(f"the PACS gives more than is taken; could not {what}", facts=facts) from None
    except (ValueError, EOFError, RecursionError, InvalidDicomError):
        raise _foreign(place, what) from None


def refusal(place: str, what: str, status: int) -> ServiceError:
    """The error for a status that is no success.

    Args:
        place: The PACS, as messages may name it.
        what: What the request was for.
        status: Of HTTP.
    """
    facts = {"address": place, "found": f"HTTP {status}"}
    if status == 401:
        hint = "check --user and the variable that --password-env names"
        return WrongPasswordError("the PACS refuses user and password", facts=facts, hint=hint)
    if status == 403:
        hint = "give --user the right to it in the PACS"
        return ForbiddenError(f"the PACS does not allow it; could not {what}", facts=facts, hint=hint)
    if status in _NOT_THERE:
        hint = "does the address end where its DICOMweb begins?"
        return MissingError(f"the PACS does not know what was asked for; could not {what}", facts=facts, hint=hint)
    if status in _LATER:
        return PacsAwayError(f"the PACS has no time or room; could not {what}", facts=facts)
    return PacsFaultError(f"the PACS refuses; could not {what}", facts=facts, hint="look into the log of the PACS")


def _untrusted(place: str, error: requests.exceptions.SSLError) -> PacsAccessError:
    facts = {"address": place, "found": _reason(error)}
    hint = "pass the certificate of its authority with --authority; the address must name the PACS as that does"
    return PacsAccessError("the certificate of the PACS cannot be trusted", facts=facts, hint=hint)


def _reason(error: BaseException) -> str:
    """The reason in OpenSSL's words, e.g. `self-signed certificate`; the error's own text quotes the request."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ssl.SSLCertVerificationError):
            return seen.verify_message
        inner = seen.args[0] if seen.args and isinstance(seen.args[0], BaseException) else None
        seen = getattr(seen, "reason", None) if isinstance(getattr(seen, "reason", None), BaseException) else inner
    return "no TLS connection"


def _foreign(place: str, what: str) -> PacsFaultError:
    return PacsFaultError(
        f"the answer of the PACS is not DICOMweb; could not {what}",
        facts={"address": place},
        hint="does the address end where its DICOMweb begins, e.g. …/dicom-web?",
    )
