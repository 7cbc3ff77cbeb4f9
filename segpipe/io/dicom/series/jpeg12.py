"""Decodes 12-bit JPEG Extended by GDCM, which pydicom uses for 8 bits of it alone: a decoder plugin for pydicom."""

import numpy as np
from pydicom.pixels.decoders.base import DecodeRunner, JPEGExtended12BitDecoder
from pydicom.uid import JPEGExtended12Bit

DECODER_DEPENDENCIES = {JPEGExtended12Bit: ("gdcm>=3.0.24",)}
_BITS = 12
_PLUGIN = "segpipe"


def is_available(uid: str) -> bool:
    """True when GDCM is installed; pydicom asks."""
    try:
        import gdcm  # noqa: F401
    except ImportError:
        return False
    return uid in DECODER_DEPENDENCIES


def decode_frame(source: bytes, runner: DecodeRunner) -> bytes:
    """One frame as 16-bit numbers, those of signed pixels with their sign.

    Raises:
        ValueError: when GDCM does not find 12-bit pixels in it.
    """
    frame = np.frombuffer(_decode(source, runner), np.int16)
    if frame.size != runner.rows * runner.columns:
        raise ValueError("not a frame of 12-bit pixels")
    if runner.pixel_representation == 1:
        spare = 16 - _BITS
        frame = (frame << spare) >> spare
    runner.set_option("bits_allocated", 16)
    return frame.tobytes()


def _decode(source: bytes, runner: DecodeRunner) -> bytes:
    import gdcm

    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(source)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    pixels = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    pixels.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((runner.columns, runner.rows, 1))
    image.SetDataElement(pixels)
    monochrome = gdcm.PhotometricInterpretation.GetPIType(str(runner.photometric_interpretation))
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(monochrome))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(str(runner.transfer_syntax))))
    # allocating 12 bits chooses the 12-bit decoder; with 16 another one would complain to stderr first
    image.SetPixelFormat(gdcm.PixelFormat(1, _BITS, _BITS, _BITS - 1, 0))
    # GDCM's bytes come as text
    return bytes(image.GetBuffer().encode("utf-8", "surrogateescape"))


JPEGExtended12BitDecoder.add_plugin(_PLUGIN, (__name__, "decode_frame"))
