"""Packs the pixels of a slice as other software does."""

import io
import tempfile
from pathlib import Path

import numpy as np
import pydicom
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian, JPEGLosslessSV1


def compress(dataset, syntax):
    """The slice in another transfer syntax."""
    if syntax in (ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian):
        dataset.file_meta.TransferSyntaxUID = syntax
    elif syntax == ExplicitVRBigEndian:
        content = io.BytesIO()
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.PixelData = np.frombuffer(dataset.PixelData, np.uint16).astype(">u2").tobytes()
        pydicom.dcmwrite(content, dataset, implicit_vr=False, little_endian=False, force_encoding=True)
        return pydicom.dcmread(io.BytesIO(content.getvalue()), force=True)
    elif syntax == JPEGLosslessSV1:
        return _compress_with_gdcm(dataset)
    else:
        dataset.compress(syntax, generate_instance_uid=False)
    return dataset


def _compress_with_gdcm(dataset):
    import gdcm

    with tempfile.TemporaryDirectory() as folder:
        plain, packed = Path(folder, "plain"), Path(folder, "packed")
        dataset.save_as(plain, enforce_file_format=True)
        reader = gdcm.ImageReader()
        reader.SetFileName(str(plain))
        assert reader.Read()
        change = gdcm.ImageChangeTransferSyntax()
        change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer = gdcm.ImageWriter()
        writer.SetFileName(str(packed))
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        assert writer.Write()
        return pydicom.dcmread(io.BytesIO(packed.read_bytes()))
