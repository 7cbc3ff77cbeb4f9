"""Files as the worst software writes them: attributes whose bytes no standard allows, each of them quoting a secret."""

import struct
from pathlib import Path

import pydicom
from pydicom.datadict import tag_for_keyword
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

SECRETS = ("SECRET", "Secret", "secret", "1.2.3.05", "1.2.3.06", "1.2.3.07", "19.05.1950", "19500101", "20200102")
ODD = {  # keyword: kind of value and bytes
    "PatientName": ("PN", b"SECRET^A^B^C^D^E^F=SECRET=SECRET=SECRET=x"),
    "PatientID": ("LO", b"SECRET" * 40),
    "PatientBirthDate": ("DA", b"19.05.1950SECRET"),
    "PatientBirthTime": ("TM", b"SECRET o'clock"),
    "PatientSex": ("CS", b"secretly secret and long"),
    "PatientAge": ("AS", b"SECRET years"),
    "PatientWeight": ("DS", b"80,5 SECRET kilogram"),
    "PatientSize": ("DS", b"1.8SECRET" * 5),
    "PatientComments": ("LT", b"SECRET" * 3000),
    "OtherPatientIDs": ("LO", b"SECRET\\" * 9),
    "EthnicGroup": ("SH", b"SECRET" * 9),
    "StudyDate": ("DA", b"SECRETxx"),
    "SeriesDate": ("DA", b"2020-01-01SECRET"),
    "ContentDate": ("TM", b"SECRET"),
    "AcquisitionDateTime": ("DT", b"SECRET"),
    "StudyTime": ("TM", b"99:99:SECRET"),
    "AccessionNumber": ("SH", b"SECRET" * 20),
    "StudyID": ("SH", b"SECRET" * 20),
    "ReferringPhysicianName": ("PN", b"SECRET\\SECRET=\x1b$B=SECRET"),
    "OperatorsName": ("PN", b"\x1b$B\xff\xfeSECRET"),
    "InstitutionName": ("LO", b"\xff\xfe\xfdSECRET" * 20),
    "ManufacturerModelName": ("LO", b"SECRET" * 30),
    "SoftwareVersions": ("UN", b"SECRET"),
    "BodyPartExamined": ("CS", b"CHEST, secret and much more"),
    "InstanceNumber": ("IS", b"SECRET"),
    "AcquisitionNumber": ("IS", b"1.5SECRET"),
    "SeriesNumber": ("IS", b"99999999999999999SECRET"),
    "TemporalPositionIdentifier": ("IS", b"SECRET"),
    "SliceThickness": ("DS", b"5,0 SECRET"),
    "KVP": ("DS", b"hundred-SECRET"),
    "WindowCenter": ("DS", b"SECRET\\SECRET"),
    "FrameOfReferenceUID": ("UI", b"1.2.3.07.SECRET"),
    "StudyInstanceUID": ("UI", b"1.2.3.06.8888"),
    "SeriesInstanceUID": ("UI", b"1.2.3.05.7777"),
}
RUINOUS = {  # with which a file is read in part or not at all
    "SpecificCharacterSet": ("CS", b"SECRET 100\\ISO 2022 IR SECRET"),
    "ReferencedStudySequence": ("SQ", b"\xfe\xff\x00\xe0\x04\x00\x00\x00SECR"),
    "RequestAttributesSequence": ("SQ", b"SECRET garbage"),
    "PixelPaddingValue": ("US", b"SEC"),
    "LargestImagePixelValue": ("US", b"S"),
    "SmallestImagePixelValue": ("ZZ", b"SECRET"),
    "ProtocolName": ("??", b"SECRET"),
}
_LONG = (b"OB", b"OW", b"SQ", b"UN", b"UT")


def save_odd(slices, folder, *, explicit=False, ruin=()):
    """Writes data sets with all odd values, and with those of RUINOUS that are named."""
    folder.mkdir(parents=True, exist_ok=True)
    values = {**ODD, **{keyword: RUINOUS[keyword] for keyword in ruin}}
    for number, dataset in enumerate(slices):
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian if explicit else ImplicitVRLittleEndian
        file = folder / f"{number:03d}"
        dataset.save_as(file, enforce_file_format=True)
        _put_in(file, values, explicit)
    return folder


def _put_in(file: Path, values, explicit):
    """Exchanges attributes of a file for raw bytes."""
    content = file.read_bytes()
    start = 144 + pydicom.dcmread(file).file_meta.FileMetaInformationGroupLength
    elements = dict(_elements(content[start:], explicit))
    for keyword, (kind, value) in values.items():
        tag, padded = tag_for_keyword(keyword), value + b" " * (len(value) % 2)
        elements[tag] = _head(tag, kind.encode(), len(padded), explicit) + padded
    file.write_bytes(content[:start] + b"".join(elements[tag] for tag in sorted(elements)))


def _elements(body, explicit):
    """Tag and bytes of each attribute."""
    place = 0
    while place < len(body):
        group, element = struct.unpack_from("<HH", body, place)
        is_long = explicit and body[place + 4 : place + 6] in _LONG
        head = 12 if is_long else 8
        form, at = ("<H", 6) if explicit and not is_long else ("<I", head - 4)
        end = place + head + struct.unpack_from(form, body, place + at)[0]
        yield group << 16 | element, body[place:end]
        place = end


def _head(tag, kind, length, explicit):
    number = struct.pack("<HH", tag >> 16, tag & 0xFFFF)
    if not explicit:
        return number + struct.pack("<I", length)
    return number + kind + (b"\0\0" + struct.pack("<I", length) if kind in _LONG else struct.pack("<H", length))
