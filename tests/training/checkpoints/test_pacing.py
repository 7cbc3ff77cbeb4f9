"""A checkpoint is written slowly next to a training, and at once when somebody waits for it."""

import io

import pytest
import torch

from segpipe.training.checkpoints.files import CheckpointWriter, read_checkpoint
from segpipe.training.checkpoints.pacing import PacedStream

MIB = 2**20
CONTENT = {"segpipe": {}, "global_step": 3, "state_dict": {"w": torch.zeros(3 * MIB // 4)}}  # 3 MiB


class Hurry:
    """Notes how long a stream would wait."""

    def __init__(self):
        self.waits = []

    def wait(self, seconds):
        self.waits.append(seconds)


def test_what_is_written_in_pieces_with_pauses_is_what_was_given():
    content, hurry, file = bytes(range(256)) * 8 * 2**10 + b"end", Hurry(), io.BytesIO()  # 2 MiB and 3 bytes
    assert PacedStream(file, hurry).write(content) == 2 * MIB + 3
    assert file.getvalue() == content
    assert hurry.waits == pytest.approx([0.01048576, 0.01048576, 3e-8])  # at 100 MB/s


@pytest.mark.parametrize("finish", [CheckpointWriter.wait, CheckpointWriter.teardown])
def test_who_waits_for_a_checkpoint_ends_the_pauses(tmp_path, monkeypatch, finish):
    monkeypatch.setattr("segpipe.training.checkpoints.pacing._BYTES_PER_S", 1.0)  # by itself a month
    writer = CheckpointWriter()
    for name in ("first", "second", "third"):  # before a third, the first is waited for
        writer.save_checkpoint(CONTENT, tmp_path / name)
    finish(writer)
    for name in ("first", "second", "third"):
        assert read_checkpoint(tmp_path / name)["global_step"] == 3
    writer.teardown()
