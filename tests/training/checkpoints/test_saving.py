"""Checkpoints are written when they are due, and by all processes together."""

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import SingleDeviceStrategy

from segpipe.errors import ConfigError, OutputError
from segpipe.training.checkpoints.files import BEST, LAST, read_checkpoint
from segpipe.training.checkpoints.saving import Checkpoints
from tests.support.slope import train

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers", "ignore:.*isinstance.treespec", "ignore:.*dataloader is not resumable"
)


class Noting(Checkpoints):
    """Notes at which step each checkpoint is written."""

    def __init__(self, folder, **settings):
        super().__init__(folder, **{"every": 100, "validate_every": 100, "is_sound": lambda module: True, **settings})
        self.written = []

    def on_train_start(self, trainer, pl_module):
        super().on_train_start(trainer, pl_module)
        save = trainer.save_checkpoint
        trainer.save_checkpoint = lambda file: (self.written.append((trainer.global_step, file.name)), save(file))


class AmongOthers(SingleDeviceStrategy):
    """A process among others, of whom one thinks otherwise."""

    def reduce_boolean_decision(self, decision, all=True):
        return False


def test_a_module_that_does_not_log_the_figure_is_explained(tmp_path):
    class Silent(pl.LightningModule):
        pass

    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    checkpoints = Checkpoints(tmp_path, every=1, validate_every=1, is_sound=lambda module: True)
    with pytest.raises(ConfigError, match="the module must log val/pseudo_dice") as caught:
        checkpoints.on_validation_end(trainer, Silent())
    assert caught.value.facts == {"module": "Silent", "logged": "nothing"}


def test_every_few_steps_one_is_kept(tmp_path):
    checkpoints = Noting(tmp_path, every=3, keep_every=2, validate_every=4)
    train([1.0] * 6, [checkpoints], tmp_path)
    assert checkpoints.written == [
        (2, "step_0000002.ckpt"), (2, LAST),
        (5, "step_0000005.ckpt"), (5, LAST),  # at step 4 a validation is due
        (6, "step_0000006.ckpt"), (6, LAST), (6, LAST), (6, BEST),  # and at the end
    ]  # fmt: skip
    steps = {file.name: read_checkpoint(file)["global_step"] for file in tmp_path.glob("*.ckpt")}
    assert steps == {"step_0000002.ckpt": 2, "step_0000005.ckpt": 5, "step_0000006.ckpt": 6, LAST: 6, BEST: 6}


def test_a_resumed_run_keeps_no_step_twice(tmp_path):
    train([1.0] * 3, [Noting(tmp_path, keep_every=2)], tmp_path)
    checkpoints = Noting(tmp_path, keep_every=2)
    train([1.0] * 4, [checkpoints], tmp_path, ckpt_path=tmp_path / "step_0000002.ckpt")
    assert checkpoints.written == [(4, "step_0000004.ckpt"), (4, LAST), (4, LAST), (4, BEST)]


def test_what_one_process_finds_wrong_keeps_all_from_saving(tmp_path):
    checkpoints = Noting(tmp_path, every=1)
    with pytest.raises(SystemError):
        train([1.0], [checkpoints, Ending()], tmp_path, strategy=AmongOthers(torch.device("cpu")))
    assert checkpoints.written == []


class Ending(pl.Callback):
    """Ends a training before it writes its finished weights."""

    def on_train_epoch_end(self, trainer, pl_module):
        raise SystemError


@pytest.mark.parametrize("there", [True, False])
def test_what_lies_on_a_disk_decides_on_no_save(tmp_path, there):
    if there:
        (tmp_path / BEST).write_bytes(b"of another machine")
    checkpoints = Noting(tmp_path)
    train([1.0], [checkpoints], tmp_path)
    assert checkpoints.written == [(1, LAST), (1, BEST)]


@pytest.mark.parametrize("batches", [[1.0], [1.0] * 4])
def test_a_checkpoint_that_cannot_be_written_ends_the_training(tmp_path, batches):
    (tmp_path / "full").write_text("a file where the folder should be")
    with pytest.raises(OutputError, match="could not be written"):
        train(batches, [Noting(tmp_path / "full", every=1)], tmp_path)


class Elsewhere(SingleDeviceStrategy):
    """A process that does not write, among others."""

    def broadcast(self, obj, src=0):
        return OutputError("the disk of another machine is full")


def test_what_one_process_could_not_write_ends_all(tmp_path):
    with pytest.raises(OutputError, match="of another machine"):
        train([1.0], [Noting(tmp_path)], tmp_path, strategy=Elsewhere(torch.device("cpu")))
