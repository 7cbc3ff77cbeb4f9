"""Who is trained on and who is held out: by patient, so that nobody is on both sides."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from segpipe.datasets.manifest import Entry, Manifest, Role
from segpipe.errors import ConfigError, DatasetError, SegpipeError
from segpipe.io.images.volumes import read_volume

ROLES: tuple[Role, ...] = ("train", "val", "test")
FRACTIONS = (0.7, 0.1, 0.2)
"""Shares of patients in train, val and test, where nobody says otherwise."""


def assign_roles(
    manifest: Manifest,
    *,
    fold: int | None = None,
    folds: int = 5,
    seed: int = 0,
    fractions: tuple[float, float, float] = FRACTIONS,
) -> Manifest:
    """Gives every case a role.

    With `fold`, that fold is the test set and everybody else is trained on; nothing is selected on, so there is no
    validation set. Without, a split that the data set fixes is kept, or one is drawn by `fractions`. The patients are
    sorted, shuffled by `seed`, and fold k holds every `folds`-th of them from the k-th on.

    Args:
        manifest: The data set.
        fold: 0 … folds-1, or None.
        folds: How many folds there are.
        seed: Of the shuffle.
        fractions: Shares of patients in train, val and test.

    Raises:
        ConfigError: for a fold or fractions that cannot be.
        DatasetError: for too few patients, a role without any case or lesion, or one patient in two roles.
    """
    if not manifest.entries:
        raise DatasetError("the data set is empty", facts={"data set": manifest.name})
    if fold is not None:
        roles = _fold_roles(shuffled_patients(manifest.entries, seed), fold, folds)
    elif any(entry.split for entry in manifest.entries):
        return _checked(_keep_fixed(manifest))
    else:
        roles = _drawn_roles(shuffled_patients(manifest.entries, seed), fractions)
    return _checked(manifest.with_entries([replace(entry, split=roles[entry.patient]) for entry in manifest.entries]))


def shuffled_patients(entries: Sequence[Entry], seed: int) -> list[str]:
    """The patients of a data set in the order that a seed gives them."""
    patients = sorted({entry.patient for entry in entries})
    return [patients[i] for i in np.random.default_rng(seed).permutation(len(patients))]


def _fold_roles(patients: Sequence[str], fold: int, folds: int) -> dict[str, Role]:
    if folds < 2 or not 0 <= fold < folds:
        raise ConfigError(
            "the fold must be one of the folds",
            facts={"data.fold": fold, "data.folds": folds, "allowed": f"0 … {max(folds, 2) - 1}"},
        )
    if len(patients) < folds:
        raise DatasetError(
            "there must be at least as many patients as folds",
            facts={"patients": len(patients), "folds": folds},
            hint=f"use data.folds={len(patients)} or fewer, or add patients",
        )
    held_out = set(patients[fold::folds])
    return {patient: "test" if patient in held_out else "train" for patient in patients}


def _drawn_roles(patients: Sequence[str], fractions: tuple[float, float, float]) -> dict[str, Role]:
    if min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-6:
        raise ConfigError("the fractions must be ≥ 0 and add up to 1", facts={"data.fractions": tuple(fractions)})
    wanted = [role for role, fraction in zip(ROLES, fractions, strict=True) if fraction > 0]
    if len(patients) < len(wanted):
        raise DatasetError(
            "there must be a patient for each role",
            facts={"patients": len(patients), "roles": ", ".join(wanted)},
            hint="add patients, or set the fraction of a role to 0",
        )
    counts = _counts(len(patients), dict(zip(ROLES, fractions, strict=True)))
    sequence = [role for role in reversed(ROLES) for _ in range(counts[role])]
    return dict(zip(patients, sequence, strict=True))


def _counts(patients: int, fractions: Mapping[Role, float]) -> dict[Role, int]:
    """Rounds shares to whole patients: at least one for each share that is not 0, and the largest takes the rest."""
    counts = {role: max(1, round(share * patients)) if share > 0 else 0 for role, share in fractions.items()}
    while (rest := patients - sum(counts.values())) != 0:
        largest = max(counts, key=lambda role: counts[role])
        counts[largest] += rest if rest > 0 else -1
    return counts


def _keep_fixed(manifest: Manifest) -> Manifest:
    without = [entry.id for entry in manifest.entries if entry.split not in ROLES]
    if without:
        raise DatasetError(
            "either all cases have a split or none",
            facts={"without": f"{len(without)} of {len(manifest.entries)}: " + ", ".join(without[:8])},
            hint="complete or remove the splits in manifest.json; each is one of " + ", ".join(ROLES),
        )
    roles: dict[str, set[str]] = {}
    for entry in manifest.entries:
        roles.setdefault(entry.patient, set()).add(str(entry.split))
    split_patients = sorted(patient for patient, found in roles.items() if len(found) > 1)
    if split_patients:
        raise DatasetError(
            "all cases of a patient must have one split",
            facts={"patients": f"{len(split_patients)}: " + ", ".join(split_patients[:8])},
            hint="correct the splits in manifest.json, or choose a fold with data.fold",
        )
    return manifest


def _checked(manifest: Manifest) -> Manifest:
    for role in ROLES:
        entries = [entry for entry in manifest.entries if entry.split == role]
        if not entries and role != "val":
            raise DatasetError("each role must have a case", facts={"role": role, "cases": 0})
        outlined = [entry for entry in entries if entry.mask is not None]
        if outlined and not any(_has_lesion(entry) for entry in outlined):
            raise DatasetError(
                "each role must have a lesion",
                facts={"role": role, "cases": len(entries), "lesions": 0},
                hint="use fewer folds, another data.split_seed, or check that the masks are not empty",
            )
    return manifest


def _has_lesion(entry: Entry) -> bool:
    """Whether the mask has foreground; damaged masks count as none here and are reported when the case is loaded."""
    assert entry.mask is not None
    known = (entry.extra or {}).get("lesions")
    if isinstance(known, int):
        return known > 0
    try:
        return bool(read_volume(entry.mask).array.any())
    except SegpipeError:
        return False
