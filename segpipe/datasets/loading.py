"""From an entry of the manifest to a valid case; the one place where training, evaluation and checks read scans."""

from collections.abc import Mapping
from dataclasses import replace

from segpipe.case import Case, build_case
from segpipe.datasets.manifest import Entry
from segpipe.errors import SegpipeError
from segpipe.io.images.volumes import read_volume
from segpipe.labels import LabelMap, lesion_mask


def load_lesions(entry: Entry, names: Mapping[int, str], labels: LabelMap | None = None) -> Case:
    """Reads an entry's scan and, of its mask, the lesions alone: other labels, e.g. lungs, are background.

    Args:
        entry: One case of a manifest.
        names: Mask value → name in the data set.
        labels: The classes; the mask is brought to their values. Without them lesions of any label are 1; see
            `lesion_names`.

    Raises:
        SegpipeError: of the kind that fits what is wrong, naming the case.
    """
    case = load_case(entry, names)
    if case.mask is None:
        return case
    if labels is None:
        return replace(case, mask=lesion_mask(case.mask, names).astype("uint8"))
    return replace(case, mask=labels.recode(case.mask, names))


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
