"""Readers of DICOM: series in all transfer syntaxes, segmentations, structure sets, zip files and DICOMDIR."""

import io
import zipfile
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from tests.fuzz.soak.reader import Reader, Try, any_of, file_reader, mutated_start
from tests.fuzz.soak.reader import mutated as mutated_anywhere

SHAPE = (7, 6, 5)
_HEAD = 1200
"""Bytes; most of a slice's attributes are in them."""


def mutated(random: Random, content: bytes) -> bytes:
    """Changes anywhere, or half the time in the attributes alone."""
    return mutated_start(random, content, _HEAD) if random.random() < 0.5 else mutated_anywhere(random, content)


def _bytes_of(dataset: Any) -> bytes:
    dataset.save_as(stream := io.BytesIO(), enforce_file_format=True)
    return stream.getvalue()


def _slices(shape: tuple[int, int, int] = SHAPE) -> list[Any]:
    from tests.samples.synthetic_dicom import ct_slices, thorax

    return ct_slices(thorax(shape))


def _read_all(path: Path) -> None:
    from segpipe.io.dicom.series.series import find_series, read_series

    for series in find_series(path).series:
        volume = read_series(series)
        assert volume.array.shape == volume.grid.shape


def _series(folder: Path) -> Try:
    from tests.samples.synthetic_dicom import save

    place = save(_slices(), folder / "ct")
    file = min(place.iterdir())
    return file_reader(file, file.read_bytes(), lambda: _read_all(place), mutated)


def _enhanced(folder: Path) -> Try:
    from tests.samples.synthetic_dicom import AXIAL, enhanced_ct, thorax

    return file_reader(folder / "a", _bytes_of(enhanced_ct(thorax(SHAPE), AXIAL)), lambda: _read_all(folder), mutated)


def _compressed(folder: Path) -> Try:
    """One slice of the series in each transfer syntax: its pixels go through decoders written in C and C++."""
    from pydicom import uid

    from tests.samples.compressed_dicom import compress

    names = ("RLELossless", "JPEGLSLossless", "JPEG2000Lossless", "JPEGLosslessSV1", "DeflatedExplicitVRLittleEndian")
    ways, shape = {}, (40, 36, 5)
    for name in names:
        place = folder / name
        place.mkdir()
        for number, dataset in enumerate(_slices(shape)):
            (place / f"{number}").write_bytes(_bytes_of(compress(dataset, getattr(uid, name))))
        file = place / "1"
        ways[name] = file_reader(file, file.read_bytes(), partial(_read_all, place), mutated_anywhere)
    return any_of(ways)


def _source(folder: Path) -> Any:
    from segpipe.io.dicom.series.series import find_series
    from tests.samples.synthetic_dicom import save

    return find_series(save(_slices(), folder / "ct")).series[0]


def _seg(folder: Path, *, kind: str) -> Try:
    from segpipe.io.dicom.objects import Derivation, FindingMap, Maker
    from segpipe.io.dicom.seg.reading import read_dicom_seg, read_segment_labels
    from segpipe.io.dicom.seg.writing import write_dicom_seg
    from segpipe.labels import NODULE

    series, findings = _source(folder), np.zeros(SHAPE, np.uint8)
    findings[2:5, 2:4, 1:], findings[6, 5, 1] = 1, 2
    derivation = Derivation(series, (NODULE,), Maker("m", "1", "0123abcd", "0.1"))
    file = write_dicom_seg(folder / "a.dcm", [FindingMap(NODULE, findings)], derivation=derivation, kind=kind)

    def read() -> None:
        read_segment_labels(file)
        for mask in read_dicom_seg(file, series).values():
            assert mask.shape == SHAPE
            assert mask.max() <= 1

    return file_reader(file, file.read_bytes(), read, mutated)


def _rtstruct(folder: Path) -> Try:
    import pydicom

    from segpipe.io.dicom.rtstruct.reading import read_region_names, read_rtstruct
    from tests.samples.synthetic_structures import structure_set

    series = _source(folder)
    boxes = [(((1.5, 1.5), (4.5, 3.5)), 1), (((1.5, 1.5), (4.5, 3.5)), 2)]
    source = pydicom.dcmread(next((folder / "ct").iterdir()))
    content = _bytes_of(structure_set([source], [("GTV", boxes), ("Lung", boxes[:1])]))

    def read() -> None:
        read_region_names(folder / "a.dcm", series)
        for mask in read_rtstruct(folder / "a.dcm", series).values():
            assert mask.shape == SHAPE

    return file_reader(folder / "a.dcm", content, read, mutated)


def _zip(folder: Path) -> Try:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, dataset in enumerate(_slices()):
            archive.writestr(f"{number}", _bytes_of(dataset))
    return file_reader(folder / "a.zip", stream.getvalue(), lambda: _read_all(folder / "a.zip"), mutated_anywhere)


def _dicomdir(folder: Path) -> Try:
    from pydicom.fileset import FileSet

    medium = FileSet()
    for dataset in _slices():
        medium.add(dataset)
    medium.write(folder / "medium")
    file = folder / "medium" / "DICOMDIR"
    return file_reader(file, file.read_bytes(), lambda: _read_all(file), mutated_anywhere)


DICOM = (
    Reader("dicom_series", 3, _series),
    Reader("dicom_enhanced", 3, _enhanced),
    Reader("dicom_compressed", 3, _compressed),
    Reader("dicom_seg", 2, partial(_seg, kind="BINARY")),
    Reader("dicom_labelmap", 2, partial(_seg, kind="LABELMAP")),
    Reader("rtstruct", 3, _rtstruct),
    Reader("dicom_zip", 3, _zip),
    Reader("dicomdir", 3, _dicomdir),
)
