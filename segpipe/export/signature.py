"""Who answers for a model folder: a detached Ed25519 signature of its index, which has the SHA-256 of each file."""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segpipe.errors import ConfigError, ModelError
from segpipe.export.export_spec import SIGNATURE
from segpipe.export.writing import checksum
from segpipe.system.files.atomic_write import write_text

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

_PURPOSE = "segpipe model folder, index "
_LARGEST = 64 * 2**10
_MAKE = "openssl genpkey -algorithm ed25519 -out private.pem && openssl pkey -in private.pem -pubout -out public.pem"


def write_signature(folder: Path, content: Mapping[str, Any], key: "Ed25519PrivateKey") -> Path:
    """Signs the index of a model folder; whatever signature was there is replaced.

    Args:
        folder: A verified model folder.
        content: Its index.
        key: The signer's.

    Raises:
        OutputError: when the signature cannot be written.
    """
    signature = base64.b64encode(key.sign(_signed(content))).decode()
    return write_text(folder / SIGNATURE, signature + "\n", what="the signature")


def check_signature(folder: Path, content: Mapping[str, Any], key: "Ed25519PublicKey") -> None:
    """Makes sure that the owner of a key signed an index.

    Args:
        folder: The model folder.
        content: Its index as it was read.
        key: The one that is trusted.

    Raises:
        ModelError: when there is no signature, or it is not of this key and this index.
    """
    from cryptography.exceptions import InvalidSignature

    file, facts = folder / SIGNATURE, {"folder": folder, "key": fingerprint(key)}
    if not file.is_file():
        hint = f"python -m segpipe sign {folder} --key PRIVATE.pem   signs it, if you are who answers for it"
        raise ModelError("the model folder is not signed", facts=facts, hint=hint)
    try:
        with file.open("rb") as stream:
            signature = base64.b64decode(stream.read(_LARGEST), validate=False)
        key.verify(signature, _signed(content))
    except (InvalidSignature, binascii.Error, OSError):
        raise ModelError(
            "the signature is not of this key, or the folder is not the one that was signed",
            facts=facts,
            hint="ask whoever gave you the folder for the key that it was signed with; do not use it before",
        ) from None


def read_private_key(file: Path, passphrase: str | None = None) -> "Ed25519PrivateKey":
    """Reads a private key (PEM).

    Raises:
        ConfigError: when it is none, needs a passphrase, or cannot be read.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(_read(file), passphrase.encode() if passphrase else None)
    except TypeError as error:  # a passphrase is missing, or there is one too many
        raise ConfigError(str(error), facts={"file": file}, hint="--passphrase-env VARIABLE") from None
    except (ValueError, UnsupportedAlgorithm):
        raise _no_key(file, "private") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise _no_key(file, "private")
    return key


def read_public_key(file: Path) -> "Ed25519PublicKey":
    """Reads a public key (PEM).

    Raises:
        ConfigError: when it is none, or cannot be read.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(_read(file))
    except (ValueError, UnsupportedAlgorithm):
        raise _no_key(file, "public") from None
    if not isinstance(key, Ed25519PublicKey):
        raise _no_key(file, "public")
    return key


def fingerprint(key: "Ed25519PublicKey") -> str:
    """First 16 hex digits of the SHA-256 of a public key, by which people compare keys."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:16]


def _signed(content: Mapping[str, Any]) -> bytes:
    return (_PURPOSE + checksum(content)).encode()


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            return stream.read(_LARGEST)
    except OSError as error:
        raise ConfigError("the key cannot be read", facts={"file": file, "found": error.strerror}) from None


def _no_key(file: Path, kind: str) -> ConfigError:
    return ConfigError(f"the file must hold an Ed25519 {kind} key (PEM)", facts={"file": file}, hint=_MAKE)
