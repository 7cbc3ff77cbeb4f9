"""Fine-tuning: which weights move and which do not, of every shipped network; norms, rates, and resumed runs."""

from functools import partial
from itertools import product
from shutil import copyfile

import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from segpipe.cli.train import registries
from segpipe.config.check import settings_of
from segpipe.config.compose import compose
from segpipe.errors import ConfigError
from segpipe.networks import NETWORKS, build_network
from segpipe.networks.stages import Stage, stages_of
from segpipe.training.module import SegmentationModule
from segpipe.training.optimisation.losses import build_loss
from segpipe.training.optimisation.optimizers import OPTIMIZERS, build_optimizer
from segpipe.training.optimisation.schedulers import build_scheduler
from segpipe.training.transfer.fine_tuning import FrozenStages, freeze, layer_scale, release_steps
from segpipe.training.transfer.settings import FineTuning
from tests.networks.test_registry import small
from tests.training.optimisation.test_optimizers import shipped
from tests.training.resuming.test_resume import assert_bit_identical, fit_words, losses

# of a training without validation and workers, as these are
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    pytest.mark.filterwarnings("ignore:.*have no `val_dataloader`.*"),
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.*"),
]
ADAM = {"name": "adam", "lr": 1e-3, "weight_decay": 0.0, "betas": (0.9, 0.999), "eps": 1e-8}
MODES = {
    "full": FineTuning(),
    "head": FineTuning(name="head"),
    "decoder": FineTuning(name="decoder"),
    "gradual": FineTuning(name="gradual", release=(0.5, 1.0)),
}
STEPS = 2
RELEASED = {"unet": 1, "dynunet": 2, "segresnet": 1, "attention_unet": 1, "resnet_unet": 2, "swin_unetr": 2}
"""Encoder stages that `gradual` releases before the second step: those before the middle of them, e.g. one of three."""
BATCH_NORM = ("unet", "dynunet", "segresnet", "attention_unet", "resnet_unet")
ENCODER = [Stage("encoder", (name,)) for name in ("a", "b", "c")]
STAGES = [*ENCODER, Stage("decoder", ("d",)), Stage("head", ("e",))]


def train(network: nn.Module, tuning: FineTuning, *, steps: int = STEPS, optimizer=ADAM) -> None:
    """Trains on the CPU as a run does, on random patches."""
    freeze(network, tuning)
    module = SegmentationModule(
        network,
        build_loss({"name": "cross_entropy", "lesion_weight": 1.0}),
        make_optimizer=partial(build_optimizer, optimizer, scale=layer_scale(network, tuning)),
        make_scheduler=lambda built: build_scheduler({"name": "constant", "warmup": 0.0}, built, steps),
        seed=0,
        provenance={},
    )
    x, y, z = network.divisor
    size = (2 * x, y, z)
    batches = [{"image": torch.rand(1, 1, *size), "label": torch.zeros(1, 1, *size)} for _ in range(steps)]
    callbacks = [FrozenStages(tuning, steps)] if tuning.name != "full" else []
    trainer = pl.Trainer(
        accelerator="cpu", max_steps=steps, callbacks=callbacks, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    loader = torch.utils.data.DataLoader(batches, batch_size=None)
    trainer.fit(module, train_dataloaders=loader)


@pytest.mark.parametrize(("name", "mode"), list(product(NETWORKS, MODES)))
def test_the_stages_that_are_learnt_move_and_no_others(name, mode):
    torch.manual_seed(0)
    network = build_network(small(name, norm="batch") if name in BATCH_NORM else small(name))
    stages, before = stages_of(network), {key: value.clone() for key, value in network.state_dict().items()}
    train(network, MODES[mode])
    moved = {key for key, value in network.state_dict().items() if not torch.equal(value, before[key])}
    learnt = {"full": stages, "head": stages[-1:], "decoder": stages[-2:], "gradual": stages[-2 - RELEASED[name] :]}[
        mode
    ]
    assert [stage for stage in stages if any(stage.holds(key) for key in moved)] == list(learnt)


def test_steps_of_release_by_hand():
    def steps(tuning):
        return release_steps(STAGES, tuning, 100)

    assert steps(MODES["full"]) == [0, 0, 0, 0, 0]
    assert steps(MODES["head"]) == [None, None, None, None, 0]
    assert steps(MODES["decoder"]) == [None, None, None, 0, 0]
    assert steps(FineTuning(name="gradual", release=(0.2, 0.6))) == [60, 40, 20, 0, 0]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_takes_up_a_stage_that_is_released(optimizer):
    torch.manual_seed(0)
    network = build_network(small("unet"))
    before = [value.detach().clone() for value in network.parameters()]
    spec = shipped(optimizer)
    train(network, FineTuning(name="gradual", release=(0.25, 0.5)), steps=4, optimizer=spec)
    assert all(
        not torch.equal(value, old) for value, old in zip(network.parameters(), before, strict=True) if value.ndim > 1
    )


def test_the_first_step_of_a_released_stage_is_adams_first_step():
    """It is as long as the rate wherever there is a gradient, as bias correction begins with the stage."""
    torch.manual_seed(0)
    network = build_network(small("unet", channels=[8, 8], strides=[2]))
    before = network.model[0].conv.unit0.conv.weight.detach().clone()
    train(network, FineTuning(name="gradual", release=(0.9, 0.9)), steps=10)
    moved = (network.model[0].conv.unit0.conv.weight - before).abs()
    assert moved.max().item() == pytest.approx(1e-3, rel=1e-3)
    assert moved[moved > 0].median().item() == pytest.approx(1e-3, rel=1e-2)


def test_rates_fall_by_stage_from_the_head_to_the_image():
    network = build_network(small("unet"))
    scale = layer_scale(network, FineTuning(layer_decay=0.5))
    optimizer = build_optimizer(ADAM, network, scale=scale)
    rates = {id(value): group["lr"] for group in optimizer.param_groups for value in group["params"]}
    named = {name: rates[id(value)] for name, value in network.named_parameters()}
    assert named["model.2.1.conv.unit0.conv.weight"] == 1e-3
    assert named["model.1.submodule.2.0.conv.weight"] == 0.5e-3
    assert named["model.1.submodule.1.submodule.residual.weight"] == 0.25e-3
    assert named["model.1.submodule.0.residual.bias"] == 0.125e-3
    assert named["model.0.residual.weight"] == 0.0625e-3
    assert optimizer.param_groups[0]["lr"] == 1e-3  # which is logged
    undecayed = [group["lr"] for group in optimizer.param_groups if group.get("weight_decay") == 0.0]
    assert len(optimizer.param_groups) == 10
    assert len(undecayed) >= 5
    with pytest.raises(ConfigError, match="rates that differ by layer need the optimizer's rate"):
        build_optimizer({"name": "adam"}, network, scale=scale)


def check(*words):
    return settings_of(compose(["+experiment=lung_nodule", *words], registries), registries()).finetune


def test_the_options():
    assert check() == MODES["full"]
    assert check("finetune=head", "finetune.layer_decay=0.8") == FineTuning(name="head", layer_decay=0.8)
    assert check("finetune=gradual").release == (0.2, 0.6)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["finetune=gradual", "finetune.release=[0.6,0.2]"], "release must name the deepest stage's share"),
        (["finetune=gradual", "finetune.release=null"], "gradual, and no other, must say when"),
        (["finetune=head", "+finetune.release=[0.1,0.2]"], "gradual, and no other, must say when"),
        (["finetune=full", "finetune.layer_decay=0"], "finetune.layer_decay=0"),
        (
            ["finetune=head", "network._target_=torch.nn.Conv3d", "network.kernel_size=1"],
            "finetune.name=head: the network must say which of its modules are encoder, decoder and head",
        ),
    ],
)
def test_mistakes_are_found_before_any_work(words, message):
    with pytest.raises(ConfigError) as caught:
        check(*words)
    assert message in str(caught.value)


@pytest.mark.slow
def test_a_run_resumed_before_a_release_has_the_bits_of_an_uninterrupted_one(tiny_words, tmp_path):
    words = [*tiny_words, "network.norm=batch", "finetune=gradual", "finetune.release=[0.3,0.6]"]
    words += ["finetune.layer_decay=0.7", "training.batch_size=1", "training.ema=0.9", "training.keep_every=2"]
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    fit_words(words, whole)
    for step in (2, 4):  # released are steps 4 and 7
        (resumed / "checkpoints").mkdir(parents=True, exist_ok=True)
        copyfile(whole / "checkpoints" / f"step_{step:07}.ckpt", resumed / "checkpoints" / "last.ckpt")
        fit_words([*words, "resume=true"], resumed)
        assert losses(whole)[step:] == losses(resumed)[-12 + step :]
        assert_bit_identical(whole, resumed)
        for file in (resumed / "checkpoints").iterdir():
            file.unlink()
