"""What instances are called on disk: their UIDs alone decide it and cannot be read off it."""

import hashlib
from collections.abc import Iterable


def instance_name(instance_uid: str) -> str:
    """32 hex digits.

    >>> instance_name("1.2.3")
    'c47f5b18b8a430e698b9fe15e51f6119'
    """
    return hashlib.sha256(instance_uid.encode()).hexdigest()[:32]


def set_digest(names: Iterable[str]) -> str:
    """32 hex digits that a set of names decides, in whatever order they come.

    >>> set_digest(["b", "a"]) == set_digest(["a", "b"]) != set_digest(["ab"])
    True
    """
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()[:32]
