"""A step without a finite loss and gradient changes nothing; many of them end the training with one message."""

import logging
import math
from contextlib import nullcontext

import pytest
import torch
from pytorch_lightning.plugins.precision import MixedPrecision
from torch import nn

from segpipe.errors import TrainingError
from segpipe.training.callbacks import read_history
from segpipe.training.checkpoints.files import read_checkpoint
from segpipe.training.checkpoints.saving import Checkpoints
from segpipe.training.finite_steps import FiniteSteps, weights_are_finite
from segpipe.training.gradient_spikes import GradientSpikes
from segpipe.training.optimisation.weight_averaging import AveragedWeights
from tests.support.slope import Slope, train


class SteepAtZero(Slope):
    """Its loss is 0 and its gradient infinite."""

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        return (self.network.weight * 0).abs().sqrt().sum()


def said(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name.startswith("segpipe")]


pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*isinstance.treespec")


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_bad_step_changes_no_weight_and_is_counted_and_said(tmp_path, caplog, bad):
    steps = FiniteSteps(most=2, every=1)
    with caplog.at_level(logging.WARNING, "segpipe"):
        module, trainer = train([1.0, bad, 1.0], [steps], tmp_path)
    # by hand: w ← w − (g + w / 2): 8 → 3, the second step is left out, 3 → 0.5
    assert module.network.weight.item() == 0.5
    assert (steps.skipped, steps.in_a_row, trainer.global_step) == (1, 0, 3)
    assert said(caplog) == ["step 2 is skipped, because its loss is not finite"]
    assert read_history(tmp_path) == [
        {"step": 1, "train/grad_norm": 1.0},
        {"step": 2, "train/skipped_steps": 1.0},
        {"step": 3, "train/grad_norm": 1.0, "train/skipped_steps": 1.0},
    ]


def test_one_bad_batch_spoils_its_accumulated_step_alone(tmp_path):
    steps = FiniteSteps(most=2, every=1)
    module, _ = train([math.nan, 1.0, 1.0, 1.0], [steps], tmp_path, accumulate_grad_batches=2, gradient_clip_val=9.0)
    assert module.network.weight.item() == 3.0  # one step with the mean of both gradients, 1: 8 → 3
    assert steps.skipped == 1


def test_an_infinite_gradient_of_a_finite_loss_is_skipped(tmp_path, caplog):
    steps = FiniteSteps(most=9, every=1)
    module, _ = train([1.0], [steps], tmp_path, module=SteepAtZero())
    assert module.network.weight.item() == 8.0
    assert said(caplog) == ["step 1 is skipped, because its gradient is not finite"]


class Normed(Slope):
    """A batch norm stands before the loss."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(1, momentum=0.5)

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        return self.norm(torch.stack([batch, batch])).sum()


def test_a_bad_batch_stays_out_of_the_running_statistics(tmp_path):
    module, _ = train([4.0, math.nan], [FiniteSteps(most=9, every=1)], tmp_path, module=Normed())
    assert module.norm.running_mean.item() == 2.0  # 0 and 4, half each
    assert weights_are_finite(module)
    module.norm.running_var.fill_(math.nan)
    assert not weights_are_finite(module)


def test_many_in_a_row_end_the_training_with_one_message(tmp_path):
    with pytest.raises(TrainingError) as error:
        train([1.0, math.nan, math.nan, math.nan, 1.0], [FiniteSteps(most=3, every=1)], tmp_path)
    assert str(error.value) == (
        "the training diverged: the loss is not finite\n"
        "  step       4, where 3 in a row were skipped\n"
        "  lr         1\n"
        "  precision  32-true\n"
        "  try        optimizer.lr=1e-01, training.clip_norm=1 or trainer.precision=32-true; "
        "resume=true goes on from the last good checkpoint, if there is one"
    )
    assert error.value.exit_code == 2


@pytest.mark.parametrize(("batches", "fine"), [([1.0, math.nan], True), ([1.0, math.nan, math.nan], False)])
def test_a_training_must_not_end_diverged(tmp_path, batches, fine):
    steps = FiniteSteps(most=5, every=1)
    with nullcontext() if fine else pytest.raises(TrainingError, match="the training diverged"):
        train(batches, [steps], tmp_path)


def test_weights_that_overflow_in_the_last_step_end_the_training(tmp_path):
    with pytest.raises(TrainingError, match="the training diverged"):
        train([-3e38, -3e38], [FiniteSteps(most=5, every=1)], tmp_path)


def test_checkpoints_keep_sound_weights_alone(tmp_path):
    steps = FiniteSteps(most=3, every=1)
    checkpoints = Checkpoints(tmp_path / "checkpoints", every=1, validate_every=100, is_sound=steps.is_sound)
    with pytest.raises(TrainingError):
        train([1.0, math.nan, math.nan, math.nan], [steps, checkpoints], tmp_path)
    kept = read_checkpoint(tmp_path / "checkpoints" / "last.ckpt")
    assert kept["global_step"] == 1
    assert kept["state_dict"]["network.weight"].item() == 3.0


def test_a_skipped_step_does_not_enter_the_averaged_weights(tmp_path):
    def average(batches):
        steps = FiniteSteps(most=3, every=1)
        return train(batches, [steps, AveragedWeights(0.9, steps)], tmp_path)[0].network.weight.item()

    assert average([1.0, math.nan, 1.0]) == average([1.0, 1.0])


def test_the_count_travels_with_a_checkpoint():
    steps = FiniteSteps(most=3, every=1, spikes=GradientSpikes(2.0))
    begun = {"skipped": 4, "spiked": 3, "in_a_row": 1, "norms": [1.0, 2.0]}
    steps.load_state_dict(begun)
    assert steps.state_dict() == begun
    steps.load_state_dict({"skipped": 0, "in_a_row": 0})  # of a run that began before spikes were counted
    assert steps.spiked == 0


def test_weights_are_numbers():
    layer = nn.Linear(2, 2)
    assert weights_are_finite(layer)
    layer.bias.data[0] = math.inf
    assert not weights_are_finite(layer)


class Level(Slope):
    """Its loss is always 0, its gradient the batch: only the gradient can overflow."""

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        loss = super().training_step(batch, batch_idx)
        return loss - loss.detach()


def spiky(**settings) -> FiniteSteps:
    return FiniteSteps(**{"most": 3, "every": 1, **settings}, spikes=GradientSpikes(4.0))


def test_a_spike_is_skipped_counted_and_said(tmp_path, caplog):
    steps = spiky()
    with caplog.at_level(logging.WARNING, "segpipe"):
        module, _ = train([1.0] * 20 + [3.9, 80.0, 1.0], [steps], tmp_path)
    expected, _ = train([1.0] * 20 + [3.9, 1.0], [], tmp_path)
    assert module.network.weight.item() == expected.network.weight.item()
    assert said(caplog) == ["step 22 is skipped, because its gradient is 80 times as large as usual"]
    assert (steps.skipped, steps.spiked, steps.in_a_row) == (1, 1, 0)
    assert read_history(tmp_path)[21] == {
        "step": 22,
        "train/grad_norm": 80.0,
        "train/skipped_steps": 1.0,
        "train/gradient_spikes": 1.0,
    }


def test_many_spikes_in_a_row_end_the_training(tmp_path):
    with pytest.raises(TrainingError) as error:
        train([1.0] * 20 + [80.0] * 3, [spiky()], tmp_path)
    assert error.value.message == "the training diverged: the gradient is 80 times as large as usual"
    assert error.value.facts["step"] == "23, where 3 in a row were skipped"
    assert "training.spike_factor=null" in error.value.hint


def scaled(folder, batches, module, *, scale):
    steps = FiniteSteps(most=2, every=1)
    scaler = torch.amp.GradScaler("cpu", init_scale=scale, backoff_factor=0.5)
    train(batches, [steps], folder, module=module, plugins=[MixedPrecision("16-mixed", "cpu", scaler)])
    return steps, scaler


def test_finding_the_scale_of_the_loss_is_no_fault(tmp_path, caplog):
    module = Level()
    steps, scaler = scaled(tmp_path, [1e37] * 3, module, scale=128.0)  # 1e37 × 128 and × 64 overflow, × 32 does not
    assert (steps.skipped, steps.in_a_row, steps.taken, scaler.get_scale()) == (0, 0, True, 32.0)
    assert module.network.weight.item() < 0
    assert said(caplog) == []


def test_a_scale_that_can_fall_no_more_excuses_nothing(tmp_path):
    with pytest.raises(TrainingError, match="the gradient is not finite") as error:
        scaled(tmp_path, [1.0] * 9, SteepAtZero(), scale=8.0)
    assert error.value.facts["step"] == "5, where 2 in a row were skipped"  # 8, 4 and 2 were tried before


def test_the_scale_is_not_searched_by_a_loss_that_is_not_finite(tmp_path):
    with pytest.raises(TrainingError, match="the loss is not finite"):
        scaled(tmp_path, [math.nan] * 3, Slope(), scale=128.0)
