"""Which cases a model has seen: whoever has a case can ask for it, and nobody learns of cases that he does not have."""

import hashlib
import hmac
import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, get_args

from annotated_types import MaxLen
from pydantic import BaseModel, ConfigDict, StringConstraints

from segpipe.errors import ModelError

Role = Literal["train", "val", "test"]
ROLES: tuple[Role, ...] = get_args(Role)
IN_WORDS: Mapping[Role, str] = {"train": "trained on", "val": "in validation", "test": "held out"}
SEEN = "seen_cases"
"""Where the facts of a model folder, and summaries, have it."""
_SALT_BYTES, _TAG_DIGITS = 32, 32
Tag = Annotated[str, StringConstraints(pattern=rf"^[0-9a-f]{{{_TAG_DIGITS}}}$")]
Tags = Annotated[list[Tag], MaxLen(10**6)]


class SeenGroup(BaseModel):
    """The cases of one training, each as HMAC-SHA-256 (first half) of its voxels' digest under the group's own salt.

    Sorted, so that their order says nothing. A training that began with the weights of another has its groups as well,
    an ensemble those of all members.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    salt: Annotated[str, StringConstraints(pattern=rf"^[0-9a-f]{{{2 * _SALT_BYTES}}}$")]
    train: Tags
    val: Tags
    test: Tags


class SeenCases:
    """Answers which role a case has had.

    Args:
        groups: What a model folder lists, as plain data.
    """

    def __init__(self, groups: Iterable[Mapping[str, Any]]) -> None:
        self._tags = [(group["salt"], {role: frozenset(group[role]) for role in ROLES}) for group in groups]

    def role_of(self, digest: str) -> Role | None:
        """The role that weighs most of those that a case has had in any training; None for one that is not listed.

        Args:
            digest: See `segpipe.preprocessing.scan_digest`.
        """
        tags = [(_tag(salt, digest), roles) for salt, roles in self._tags]
        return next((role for role in ROLES if any(tag in roles[role] for tag, roles in tags)), None)

    def count(self, digests: Iterable[str | None]) -> dict[str, int]:
        """How many cases have had each role, and `of` how many."""
        roles = [digest and self.role_of(digest) for digest in digests]
        return {**{role: roles.count(role) for role in ROLES}, "of": len(roles)}


def make_group(digests: Mapping[Role, Iterable[str]]) -> dict[str, Any]:
    """Lists the cases of one training under a fresh salt.

    Args:
        digests: Role → digest of each case's voxels.
    """
    salt = secrets.token_hex(_SALT_BYTES)
    return {"salt": salt, **{role: sorted({_tag(salt, digest) for digest in digests.get(role, ())}) for role in ROLES}}


def seen_together(members: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the facts of a model say that is made of several; nothing where one of them does not say what it has seen.

    Args:
        members: The facts of each.
    """
    groups = [member.get(SEEN) for member in members]
    return {SEEN: [one for group in groups for one in group or ()]} if groups and all(groups) else {}


def seen_by(facts: Mapping[str, Any]) -> SeenCases:
    """What a model has seen.

    Args:
        facts: Those of its folder.

    Raises:
        ModelError: when they do not say.
    """
    if facts.get(SEEN):
        return SeenCases(facts[SEEN])
    if facts.get("privacy"):
        raise ModelError(
            "the model does not list the cases that it has seen",
            facts={"trained with": "differential privacy, which promises that nobody can find out"},
        )
    raise ModelError(
        "the model does not list the cases that it has seen",
        facts={"made by": f"segpipe {facts.get('segpipe_version', 'of an earlier version')}"},
        hint="models list them when they are trained; ask whoever trained this one for its split.csv",
    )


def describe_seen(counts: Mapping[str, int]) -> str:
    """How many cases of a data set a model has seen, in words.

    >>> describe_seen({"train": 2, "val": 1, "test": 0, "of": 12})
    '3 of 12 cases were seen by the model: 2 trained on, 1 in validation'
    """
    total = sum(counts[role] for role in ROLES)
    parts = [f"{counts[role]} {IN_WORDS[role]}" for role in ROLES if counts[role]]
    return f"{total} of {counts['of']} cases were seen by the model" + (f": {', '.join(parts)}" if parts else "")


def _tag(salt: str, digest: str) -> str:
    return hmac.new(bytes.fromhex(salt), bytes.fromhex(digest), hashlib.sha256).hexdigest()[:_TAG_DIGITS]
