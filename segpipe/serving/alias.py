"""Names for series in logs and folders that nobody can turn back into a UID without the salt on the worker's disk."""

import hashlib
import secrets
from pathlib import Path

from segpipe.errors import OutputError
from segpipe.system.files.atomic_write import atomic_write


class Aliases:
    """Salted hashes; the same series has the same name as long as the salt is kept.

    Args:
        file: Where the salt is kept; made when it is not there.

    Raises:
        OutputError: when it can neither be read nor made.
    """

    def __init__(self, file: Path) -> None:
        try:
            if not file.exists():
                with atomic_write(file) as part:
                    part.touch(mode=0o600)
                    part.write_bytes(secrets.token_bytes(32))
            self._salt = file.read_bytes()
        except OSError as error:
            raise OutputError("the state folder cannot be used", facts={"file": file, "found": error}) from error

    def of(self, uid: str) -> str:
        """Twelve hex digits."""
        return hashlib.blake2b(uid.encode(), key=self._salt, digest_size=6).hexdigest()
