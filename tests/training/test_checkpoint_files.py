"""Checkpoints are whole or absent, plain, verified when they are read, and found again."""

import os

import pytest
import torch

from segpipe.errors import ModelError, OutputError
from segpipe.training.checkpoint_files import AtomicCheckpointIO, find_resumable, read_checkpoint

CONTENT = {"state_dict": {"network.w": torch.ones(2)}, "segpipe": {"digest": "d"}, "global_step": 3}


def write(folder, name="last.ckpt", content=CONTENT):
    file = folder / "checkpoints" / name
    AtomicCheckpointIO().save_checkpoint(content, file)
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
        AtomicCheckpointIO().save_checkpoint({**CONTENT, "global_step": 4}, file)
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
