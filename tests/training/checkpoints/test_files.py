"""Checkpoints are whole or absent, plain, verified when they are read, and found again."""

import io
import os
import threading

import pytest
import torch
from torch import nn

from segpipe.errors import ModelError, OutputError
from segpipe.training.checkpoints import files
from segpipe.training.checkpoints.files import CheckpointWriter, read_checkpoint, write_checkpoint
from segpipe.training.checkpoints.finding import find_resumable

CONTENT = {"state_dict": {"network.w": torch.ones(2)}, "segpipe": {"digest": "d"}, "global_step": 3}


def write(folder, name="last.ckpt", content=CONTENT):
    file = folder / "checkpoints" / name
    write_checkpoint(content, file)
    return file


def test_a_checkpoint_opens_with_weights_only(tmp_path):
    file = write(tmp_path)
    assert torch.load(file, weights_only=True)["global_step"] == 3
    assert read_checkpoint(file)["segpipe"] == {"digest": "d"}
    assert [path.name for path in file.parent.iterdir()] == ["last.ckpt"]


def test_a_failed_write_keeps_the_former_checkpoint(tmp_path, monkeypatch):
    file = write(tmp_path)

    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OutputError, match="the former one is kept"):
        write_checkpoint({**CONTENT, "global_step": 4}, file)
    assert read_checkpoint(file)["global_step"] == 3
    assert [path.name for path in file.parent.iterdir()] == ["last.ckpt"]


def test_code_in_a_checkpoint_is_not_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "owned"),)

    file = tmp_path / "foreign.ckpt"
    torch.save({"segpipe": Trap()}, file)
    with pytest.raises(ModelError, match="cannot be read"):
        read_checkpoint(file)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("content", [{"state_dict": {}}, [1, 2]])
def test_a_foreign_checkpoint_is_refused(tmp_path, content):
    file = tmp_path / "foreign.ckpt"
    torch.save(content, file)
    with pytest.raises(ModelError, match="not a segpipe checkpoint"):
        read_checkpoint(file)


def test_a_changed_byte_is_noticed_or_is_in_a_filling(tmp_path):
    file = write(tmp_path)
    whole, refused = file.read_bytes(), 0
    for place in range(0, len(whole), 13):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        try:
            found = read_checkpoint(file)
        except ModelError:
            refused += 1
        else:
            assert torch.equal(found.pop("state_dict")["network.w"], torch.ones(2))
            assert found == {"segpipe": {"digest": "d"}, "global_step": 3}
    assert refused > 50


def test_a_changed_weight_is_noticed(tmp_path):
    file = write(tmp_path)
    whole, one = file.read_bytes(), torch.ones(2).numpy().tobytes()
    assert whole.count(one) == 1
    file.write_bytes(whole.replace(one, torch.full((2,), 2.0).numpy().tobytes()))
    assert torch.equal(torch.load(file)["state_dict"]["network.w"], torch.full((2,), 2.0))  # torch takes it
    with pytest.raises(ModelError, match="cannot be read") as caught:
        read_checkpoint(file)
    assert caught.value.facts["found"] == "archive/data/0 is not what was written"


def test_a_damaged_checkpoint_gives_way_to_the_next_good_one_and_is_named(tmp_path, caplog):
    best, kept, last = (write(tmp_path, name) for name in ("best.ckpt", "step_0000002.ckpt", "last.ckpt"))
    for seconds, file in enumerate((best, kept)):
        os.utime(file, (seconds, seconds))
    assert find_resumable(tmp_path) == last
    assert caplog.messages == []
    last.write_bytes(last.read_bytes()[:100])
    assert find_resumable(tmp_path) == kept
    assert caplog.messages == ["last.ckpt is passed over, it cannot be read: File is not a zip file"]
    kept.unlink()
    assert find_resumable(tmp_path) == best
    best.write_bytes(b"")
    with pytest.raises(ModelError, match="cannot be read"):
        find_resumable(tmp_path)
    assert find_resumable(tmp_path / "fresh") is None


@pytest.fixture
def writer():
    found = CheckpointWriter()
    yield found
    found.teardown()


@pytest.fixture
def slow(monkeypatch):
    """Lets the disk write when it is told to."""
    may_write = threading.Event()

    def write_late(checkpoint, file, **given):
        assert may_write.wait(60)
        write_checkpoint(checkpoint, file, **given)

    monkeypatch.setattr(files, "write_checkpoint", write_late)
    yield may_write
    may_write.set()


def test_training_goes_on_while_a_checkpoint_is_written(tmp_path, writer, slow):
    weight, momenta = torch.ones(2), [torch.zeros(1)]
    for step in range(2):
        content = {**CONTENT, "state_dict": {"w": weight}, "optimizer": {"state": momenta}, "global_step": step}
        writer.save_checkpoint(content, tmp_path / f"{step}.ckpt")
        weight += 1
        momenta[0] += 1
    assert list(tmp_path.iterdir()) == []
    slow.set()
    writer.wait()
    for step in range(2):
        found = read_checkpoint(tmp_path / f"{step}.ckpt")
        assert torch.equal(found["state_dict"]["w"], torch.full((2,), step + 1.0))
        assert found["optimizer"] == {"state": [torch.tensor([float(step)])]}
    assert writer.error is None


def test_a_third_waits_for_the_first(tmp_path, writer, slow):
    for step in range(2):
        writer.save_checkpoint(CONTENT, tmp_path / f"{step}.ckpt")
    threading.Timer(0.05, slow.set).start()
    writer.save_checkpoint(CONTENT, tmp_path / "2.ckpt")
    assert (tmp_path / "0.ckpt").exists()


def test_the_end_of_a_training_waits_for_the_disk(tmp_path, slow):
    writer = CheckpointWriter()
    writer.save_checkpoint(CONTENT, tmp_path / "last.ckpt")
    threading.Timer(0.05, slow.set).start()
    writer.teardown()
    assert read_checkpoint(tmp_path / "last.ckpt")["global_step"] == 3


def test_what_is_written_is_to_the_bit_what_was_saved(tmp_path, writer):
    network = nn.Sequential(nn.Conv3d(1, 2, 3), nn.BatchNorm3d(2)).to(memory_format=torch.channels_last_3d)
    optimizer = torch.optim.AdamW(network.parameters())
    network(torch.rand(1, 1, 4, 4, 4)).sum().backward()
    optimizer.step()
    content = {**CONTENT, "state_dict": network.state_dict(), "optimizer_states": [optimizer.state_dict()]}
    writer.save_checkpoint(content, tmp_path / "last.ckpt")
    writer.wait()
    at_once = io.BytesIO()
    torch.save(content, at_once)
    assert (tmp_path / "last.ckpt").read_bytes() == at_once.getvalue()


def test_after_a_checkpoint_that_cannot_be_written_none_is(tmp_path, writer, caplog):
    (tmp_path / "full").write_text("a file where the folder should be")
    for folder in ("full", "good", "good"):
        writer.save_checkpoint(CONTENT, tmp_path / folder / "last.ckpt")
    writer.wait()
    assert isinstance(writer.error, OutputError)
    assert not (tmp_path / "good").exists()
    assert [message.splitlines()[0] for message in caplog.messages] == [
        "OutputError: the checkpoint could not be written; the former one is kept"
    ]
