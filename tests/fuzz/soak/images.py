"""Readers of NIfTI, NRRD and MetaImage."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random

import numpy as np

from segpipe.geometry import Grid
from tests.fuzz.soak.reader import Reader, Try, any_of, file_reader, mutated, mutated_inside, mutated_start

SHAPE = (5, 6, 7)
GRID = Grid(SHAPE, np.array([[-0.7, 0.02, 0, 10], [0.01, -0.8, 0, -20], [0, 0.1, 2.5, 30], [0, 0, 0, 1.0]]))
Mutate = Callable[[Random, bytes], bytes]


def _prepare(folder: Path, *, suffix: str, start: int, pack: Mutate | None = None) -> Try:
    """Files changed anywhere, and files changed in the bytes of their header alone."""
    from segpipe.io.images.volumes import read_shape, read_volume, write_volume

    image = np.random.default_rng(0).integers(-1000, 400, SHAPE).astype(np.int16)
    file = write_volume(folder / f"a{suffix}", image, GRID)

    def read() -> None:
        volume = read_volume(file)
        assert volume.array.shape == volume.grid.shape
        assert read_shape(file)[:3] == volume.array.shape

    ways: dict[str, Mutate] = {"anywhere": mutated, "header": pack or partial(mutated_start, size=start)}
    content = file.read_bytes()
    return any_of({name: file_reader(file, content, read, mutate) for name, mutate in ways.items()})


IMAGES = (
    Reader("nifti", 12, partial(_prepare, suffix=".nii", start=360)),
    Reader("nifti_gz", 8, partial(_prepare, suffix=".nii.gz", start=360, pack=partial(mutated_inside, size=360))),
    Reader("nrrd", 8, partial(_prepare, suffix=".nrrd", start=400)),
    Reader("mha", 8, partial(_prepare, suffix=".mha", start=400)),
    Reader("mhd", 4, partial(_prepare, suffix=".mhd", start=400)),
)
