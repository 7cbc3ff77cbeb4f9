"""From an entry of the manifest to a valid case; the one place where training, evaluation and checks read scans."""

from collections.abc import Mapping
from dataclasses import replace

from segpipe.case import Case, build_case
from segpipe.datasets.manifest import Entry
from segpipe.errors import SegpipeError
from segpipe.io.images.volumes import read_volume
from segpipe.labels import lesion_value


def load_lesions(entry: Entry, labels: Mapping[int, str], label: str = "") -> Case:
    """Reads an entry's scan and, of its mask, the lesions alone, as 1: other labels, e.g. lungs, are background.

    Args:
        entry: One case of a manifest.
        labels: Mask value → name.
        label: Name of the lesions' label; see `lesion_value` for what is taken where it is missing.

    Raises:
        SegpipeError: of the kind that fits what is wrong, naming the case.
    """
    case = load_case(entry, labels)
    if case.mask is None or set(labels) == {1}:
        return case
    return replace(case, mask=(case.mask == lesion_value(labels, label)).astype("uint8"))


def load_case(entry: Entry, labels: Mapping[int, str]) -> Case:
    """Reads an entry's scan and mask.

    Args:
        entry: One case of a manifest.
        labels: Mask value → name.

    Raises:
        SegpipeError: of the kind that fits what is wrong, naming the case.
    """
    try:
        image = read_volume(entry.image)
        mask = read_volume(entry.mask) if entry.mask else None
        return build_case(entry.id, image, mask, labels=labels)
    except SegpipeError as error:
        raise error.with_facts(case=entry.id) from error
