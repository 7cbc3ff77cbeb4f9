"""Which cases a run trains on in the end: fewer than its split gives it, or old ones of another data set as well."""

from dataclasses import replace

from segpipe.datasets.manifest import Entry, Manifest
from segpipe.datasets.splits import shuffled_patients
from segpipe.errors import DatasetError

_OLD = "rehearsal_"


def limit_training(manifest: Manifest, limit: int | float, *, seed: int) -> Manifest:
    """Keeps so many training cases, or that share of them, patient by patient; the others have no role any more.

    Patients come in an order that the seed decides, so that fewer cases are among more of them.

    Args:
        manifest: With roles.
        limit: A number of cases, or a share between 0 and 1.
        seed: Of the order.

    Raises:
        DatasetError: for more cases than there are.
    """
    order = {patient: place for place, patient in enumerate(shuffled_patients(manifest.entries, seed))}
    train = [entry for entry in manifest.entries if entry.split == "train"]
    count = limit if isinstance(limit, int) else max(1, round(limit * len(train)))
    if count > len(train):
        facts = {"data.limit": limit, "training cases": len(train)}
        raise DatasetError(
            "there are fewer training cases than data.limit asks for", facts=facts, hint="data.limit=null"
        )
    kept = {entry.id for entry in sorted(train, key=lambda entry: (order[entry.patient], entry.id))[:count]}
    return manifest.with_entries(
        [
            entry if entry.split != "train" or entry.id in kept else replace(entry, split=None)
            for entry in manifest.entries
        ]
    )


def rehearse(manifest: Manifest, old: Manifest) -> Manifest:
    """Adds the training cases of an older data set to those of a new one; those that the older one holds out stay out.

    Args:
        manifest: The new data set, with roles.
        old: The older one, with roles.

    Raises:
        DatasetError: when their masks do not mean the same.
    """
    if dict(manifest.labels) != dict(old.labels):
        raise DatasetError(
            "the masks of the new and the old data set must have the same values",
            facts={"new": dict(manifest.labels), "old": dict(old.labels)},
            hint="ingest one of them again with the names of the other",
        )
    added = [_renamed(entry) for entry in old.entries if entry.split == "train"]
    return manifest.with_entries([*manifest.entries, *added])


def without_rehearsed(manifest: Manifest) -> Manifest:
    """The new data set alone, by whose hash evaluations are compared."""
    return manifest.with_entries([entry for entry in manifest.entries if not entry.id.startswith(_OLD)])


def _renamed(entry: Entry) -> Entry:
    """Under a name that no case of the new data set has."""
    return replace(entry, id=_OLD + entry.id, patient=_OLD + entry.patient)
