"""Mutated NIfTI, NRRD and MetaImage files: read or refused; what no voxel depends on changes no voxel."""

import gzip

import numpy as np
import pytest
from hypothesis import given

from segpipe.geometry import Grid
from segpipe.io.images.volumes import read_shape, read_volume, write_volume
from tests.fuzz.mutations import apply, edits, fuzz, little_memory, read_or_refuse, set_within

SHAPE = (5, 6, 7)
GRID = Grid(SHAPE, np.array([[-0.7, 0.02, 0, 10], [0.01, -0.8, 0, -20], [0, 0.1, 2.5, 30], [0, 0, 0, 1.0]]))
# of the header of NIfTI-1: sizes and names of old, the intents, the display, the slices' order, the texts
FREE_BYTES = [*range(4, 40), *range(56, 70), *range(74, 76), *range(120, 123), *range(124, 252), *range(328, 344)]


def _image():
    return np.random.default_rng(0).integers(-1000, 400, SHAPE).astype(np.int16)


def _fuzz_file(file, valid, capfd, pack=lambda content: content):
    @fuzz(0.4)
    @given(edits())
    def check(changes):
        file.write_bytes(pack(apply(changes, valid)))
        volume = read_or_refuse(lambda: read_volume(file))
        shape = read_or_refuse(lambda: read_shape(file))
        if volume is not None:
            assert volume.array.shape == volume.grid.shape
            assert shape[:3] == volume.array.shape

    with little_memory():
        check()
    if file.suffix not in (".mha", ".mhd"):  # ITK's reader of MetaImage prints that it failed, without saying of what
        assert "".join(capfd.readouterr()) == ""


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.nrrd", "a.mha", "a.mhd"])
def test_a_mutated_file(tmp_path, name, capfd):
    file = write_volume(tmp_path / name, _image(), GRID)
    _fuzz_file(file, file.read_bytes(), capfd)


def test_a_mutated_header_inside_compression(tmp_path, capfd):
    file = write_volume(tmp_path / "a.nii.gz", _image(), GRID)
    content = gzip.decompress(file.read_bytes())
    _fuzz_file(file, content[:360], capfd, pack=lambda header: gzip.compress(header + content[360:], 1))


@pytest.mark.parametrize("name", ["a.nrrd", "a.mha"])
def test_a_mutated_header_of_text(tmp_path, name, capfd):
    file = write_volume(tmp_path / name, _image(), GRID)
    content = file.read_bytes()
    end = content.index(b"\n\n") + 2 if name == "a.nrrd" else content.index(b"LOCAL") + 6
    _fuzz_file(file, content[:end], capfd, pack=lambda header: header + content[end:])


def test_bytes_that_no_voxel_depends_on_change_none(tmp_path):
    file = write_volume(tmp_path / "a.nii", _image(), GRID)
    valid = file.read_bytes()
    before = read_volume(file)

    @fuzz(0.3)
    @given(edits("set"))
    def check(changes):
        file.write_bytes(set_within(changes, valid, FREE_BYTES))
        volume = read_or_refuse(lambda: read_volume(file))
        if volume is not None:
            np.testing.assert_array_equal(volume.array, before.array)
            assert volume.grid.matches(before.grid)

    with little_memory():
        check()
