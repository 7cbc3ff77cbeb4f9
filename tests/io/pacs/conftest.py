"""A PACS of a few lines, and the files of a series."""

from io import BytesIO

import pytest

from tests.fake_pacs import FakePacs
from tests.synthetic_dicom import ct_slices, thorax


@pytest.fixture
def pacs():
    started = FakePacs().start()
    yield started
    started.stop()


@pytest.fixture(scope="module")
def files():
    """The files of a series."""
    contents = []
    for dataset in ct_slices(thorax()):
        dataset.save_as(stream := BytesIO(), enforce_file_format=True)
        contents.append(stream.getvalue())
    return contents
