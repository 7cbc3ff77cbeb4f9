"""Mutated readings of LIDC-IDRI: read or refused, and marks never reach beyond the scan."""

from hypothesis import given

from segpipe.io.dicom.lidc_xml import mark_centre_mm, mark_masks, read_lidc_xml
from segpipe.io.dicom.series.series import find_series
from tests.fuzz.mutations import apply, edits, fuzz, little_memory, read_or_refuse
from tests.samples.synthetic_dicom import ct_slices, save, thorax
from tests.samples.synthetic_lidc import message, nodule, ratings, roi, square

SHAPE = (9, 8, 7)


def test_a_mutated_reading(tmp_path, capfd):
    slices = ct_slices(thorax(SHAPE))
    (series,) = find_series(save(slices, tmp_path / "ct")).series
    places = [(float(item.ImagePositionPatient[2]), str(item.SOPInstanceUID)) for item in slices]
    drawn = nodule(*(roi(square(1, 6), z, uid=uid) for z, uid in places[2:4]), rated=ratings(texture=5, malignancy=0))
    small = nodule(roi([(2, 2)], places[4][0], uid=places[4][1]))
    file = tmp_path / "a.xml"
    valid = message(series.identity.series_uid, [drawn, small], [drawn]).encode()

    @fuzz(1)
    @given(edits())
    def check(changes):
        file.write_bytes(apply(changes, valid))
        reading = read_or_refuse(lambda: read_lidc_xml(file))
        if reading is None:
            return
        for _, mask in read_or_refuse(lambda: list(mark_masks(reading, series))) or []:
            assert mask.shape == SHAPE
        for mark in reading.marks:
            read_or_refuse(lambda mark=mark: mark_centre_mm(mark, series))

    with little_memory():
        check()
    assert "".join(capfd.readouterr()) == ""
