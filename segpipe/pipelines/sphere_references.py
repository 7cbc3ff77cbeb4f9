"""Knows which reference masks are spheres of a LUNA16 data set, so that no Dice is ever taken of them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from segpipe.datasets.manifest import read_manifest
from segpipe.evaluation.detection.spheres import is_sphere
from segpipe.evaluation.mask_pairs import MaskPair


def mark_spheres(pairs: Sequence[MaskPair], references: Path) -> list[MaskPair]:
    """Marks the pairs whose reference the manifest next to the folder of references calls a sphere."""
    folder = references.resolve().parent
    if not (folder / "manifest.json").is_file():
        return list(pairs)
    entries = read_manifest(folder).entries
    spheres = {entry.mask.resolve() for entry in entries if entry.mask and is_sphere(entry.extra)}
    return [
        replace(pair, extra={**(pair.extra or {}), "sphere": True}) if pair.reference.resolve() in spheres else pair
        for pair in pairs
    ]
