"""Signs a model folder of either kind, after it was read as whoever uses it would read it."""

from pathlib import Path
from typing import TYPE_CHECKING

from segpipe.export.export_spec import INDEX
from segpipe.export.model_folder import read_model_folder
from segpipe.export.rating_folder import FORMAT as RATING_FORMAT
from segpipe.export.rating_folder import read_rating_folder
from segpipe.export.signature import write_signature
from segpipe.system.files.plain_files import read_json

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


def sign_folder(folder: Path, key: "Ed25519PrivateKey") -> Path:
    """Signs a model folder, of ratings as well; returns the signature's file.

    Raises:
        ModelError: for a damaged folder, or one that is no model folder.
        OutputError: when the signature cannot be written.
    """
    if not (folder / INDEX).is_file():
        read_model_folder(folder)  # says what is missing
    content = read_json(folder / INDEX)
    is_rating = isinstance(content, dict) and content.get("format") == RATING_FORMAT
    (read_rating_folder if is_rating else read_model_folder)(folder)
    return write_signature(folder, content, key)
