"""Pictures come back as they were, from memory as from the disk."""

import pytest

from segpipe.datasets.quality.pictures import PictureStore


@pytest.mark.parametrize("in_memory", [3, 2**20])
def test_pictures_come_back_in_any_order(in_memory):
    store = PictureStore(in_memory=in_memory)
    first, none, last = store.add(b"abc"), store.add(b""), store.add(b"defgh")
    assert store.file._rolled == (in_memory < 8)
    assert (bytes(last), bytes(none), bytes(first)) == (b"defgh", b"", b"abc")
    assert bytes(store.add(b"ij")) == b"ij"


def test_the_file_ends_with_the_store():
    store = PictureStore(in_memory=1)
    file = store.file
    store.add(b"abc")
    del store
    assert file.closed
