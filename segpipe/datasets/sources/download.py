"""Fetches one large file: goes on where an earlier try stopped, and keeps it only when its checksum is right."""

import hashlib
import http.client
import urllib.error
import urllib.request
from pathlib import Path

from segpipe.errors import OutputError, ServiceError

_CHUNK = 1 << 20
_TIMEOUT_S = 20
_COMPLETE = 416  # "range not satisfiable": nothing is left to send


def download(url: str, file: Path, *, md5: str) -> Path:
    """Downloads `url` to `file`; what has come so far is kept in `<file>.part` and taken up again by the next call.

    Raises:
        ServiceError: when the server cannot be reached, breaks off, or sends something with another checksum.
        OutputError: when the file cannot be written.
    """
    if file.is_file() and _md5(file) == md5:
        return file
    part = file.with_name(f"{file.name}.part")
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        _fetch(url, part)
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        raise ServiceError(
            "the download did not work",
            facts={"url": url, "found": getattr(error, "reason", None) or error, "kept": f"{_size(part)} bytes"},
            hint="call again to go on from there, or fetch the file by other means and name it with --input",
        ) from error
    except OSError as error:
        raise OutputError("the download cannot be written", facts={"file": part, "found": error}) from error
    found = _md5(part)
    if found != md5:
        part.unlink()
        raise ServiceError(
            "the download has another checksum than its publisher says",
            facts={"url": url, "MD5 found": found, "MD5 wanted": md5},
            hint="call again to download it anew",
        )
    return part.replace(file)


def _fetch(url: str, part: Path) -> None:
    from tqdm import tqdm

    request = urllib.request.Request(url, headers={"Range": f"bytes={_size(part)}-"} if _size(part) else {})
    try:
        answer = urllib.request.urlopen(request, timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == _COMPLETE:
            return
        raise
    with answer, part.open("ab" if answer.status == http.HTTPStatus.PARTIAL_CONTENT else "wb") as target:
        length = int(answer.headers.get("Content-Length") or 0)
        total = target.tell() + length
        with tqdm(total=total, initial=target.tell(), unit="B", unit_scale=True, desc=url.rsplit("/", 1)[1],
                  disable=None) as bar:  # fmt: skip
            while chunk := answer.read(_CHUNK):
                target.write(chunk)
                bar.update(len(chunk))
        if length and target.tell() < total:
            raise http.client.IncompleteRead(b"", total - target.tell())


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _md5(file: Path) -> str:
    """The publisher's checksum; it guards against a broken file, not against an attacker."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
