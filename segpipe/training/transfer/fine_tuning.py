"""Fine-tuning: which stages of a network are learnt from which step on, and at which share of the learning rate."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from segpipe.config.schema import made_into
from segpipe.errors import ConfigError, SegpipeError
from segpipe.networks import build_network
from segpipe.networks.stages import Stage, stages_of
from segpipe.parts.building import summary_of
from segpipe.training.transfer.settings import FineTuning

log = logging.getLogger(__name__)
_FROZEN: Mapping[str, Sequence[str]] = {
    "full": (),
    "head": ("encoder", "decoder"),
    "decoder": ("encoder",),
    "gradual": (),
}


def release_steps(stages: Sequence[Stage], tuning: FineTuning, max_steps: int) -> list[int | None]:
    """The step from which on each stage is learnt; None for one that never is.

    With `gradual` the deepest stage of the encoder comes first, the one that sees the image last, at equal intervals.

    Args:
        stages: From the image to the logits.
        tuning: What the configuration says.
        max_steps: Of the run.
    """
    if not tuning.release:
        return [None if stage.part in _FROZEN[tuning.name] else 0 for stage in stages]
    depth = sum(stage.part == "encoder" for stage in stages)
    first, last = tuning.release
    shares = [first + (last - first) * number / max(depth - 1, 1) for number in range(depth)]
    return [*(round(share * max_steps) for share in reversed(shares)), *[0] * (len(stages) - depth)]


def freeze(network: nn.Module, tuning: FineTuning) -> None:
    """Takes the parameters that no step of a run changes out of the training, before the optimizer sees them."""
    if not tuning.needs_stages:
        return
    stages = stages_of(network)
    never = [stage for stage, step in zip(stages, release_steps(stages, tuning, 1), strict=True) if step is None]
    for name, parameter in network.named_parameters():
        if any(stage.holds(name) for stage in never):
            parameter.requires_grad_(False)


def layer_scale(network: nn.Module, tuning: FineTuning) -> Callable[[str], float] | None:
    """The share of the learning rate of a parameter of that name, by its stage; None where all have the whole rate.

    Source: layer-wise decay as of Clark et al., ICLR 2020, arXiv 2003.10555.
    """
    if tuning.layer_decay == 1:
        return None
    stages = stages_of(network)

    def scale(name: str) -> float:
        depth = next(depth for depth, stage in enumerate(reversed(stages)) if stage.holds(name))
        return float(tuning.layer_decay**depth)

    return scale


class FrozenStages(pl.Callback):
    """Keeps stages as they are until they are released, and their norms in eval mode: no running statistic changes.

    The gradients of a stage that is released later are computed and dropped before the step: so processes that train
    together agree on what they exchange, and the optimizer begins with the stage's state when it is released. What is
    frozen follows from the step alone, so that a resumed run does the same.

    Args:
        tuning: What the configuration says.
        max_steps: Of the run, which may train in several rounds.
    """

    def __init__(self, tuning: FineTuning, max_steps: int) -> None:
        self.tuning = tuning
        self.max_steps = max_steps
        self._stages: list[tuple[int | None, list[nn.Parameter], list[_NormBase]]] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Looks up what each stage holds."""
        network = pl_module.network
        stages = stages_of(network)
        steps = release_steps(stages, self.tuning, self.max_steps)
        self._stages = [
            (
                step,
                [value for name, value in network.named_parameters() if stage.holds(name)],
                [
                    value
                    for name, value in network.named_modules()
                    if stage.holds(name) and isinstance(value, _NormBase)
                ],
            )
            for stage, step in zip(stages, steps, strict=True)
        ]
        log.info("fine-tuning %s: %s", self.tuning.name, _described(stages, steps))

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Puts norms into eval mode, and those of a stage that is released back into training mode."""
        for step, _, norms in self._stages:
            for norm in norms:
                norm.train(_is_released(step, trainer.global_step))

    def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: Any, optimizer: torch.optim.Optimizer) -> None:
        """Drops the gradients of stages that are not released: optimizers change nothing that has none."""
        for step, parameters, _ in self._stages:
            if not _is_released(step, trainer.global_step):
                for parameter in parameters:
                    parameter.grad = None


def check_fine_tuning(section: str, config: Mapping[str, Any]) -> tuple[Any, list[str]]:
    """The section `finetune`, and what is wrong with it or with the stages of the network."""
    tuning, mistakes = made_into(FineTuning)(section, config)
    if mistakes or not tuning.needs_stages:
        return tuning, mistakes
    return tuning, [f"{section}.name={tuning.name}: {mistake}" for mistake in _stage_mistakes(config)]


def _stage_mistakes(config: Mapping[str, Any]) -> list[str]:
    recipe: Any = config.get("recipe")
    if not hasattr(recipe, "label_map"):
        return []  # the recipe has mistakes of its own
    try:
        with torch.random.fork_rng(devices=[]):
            network = build_network(config["network"], out_channels=recipe.label_map.channels)
    except (SegpipeError, KeyError, TypeError):
        return []  # so has the network
    try:
        stages_of(network)
    except ConfigError as error:
        return [f"{summary_of(error)}; {error.hint}"]
    return []


def _is_released(step: int | None, now: int) -> bool:
    return step is not None and now >= step


def _described(stages: Sequence[Stage], steps: Sequence[int | None]) -> str:
    """What is learnt when, in one line."""
    learnt = {"decoder and head": 0} if steps[-2] == 0 else {"head": 0}
    texts = [f"{name} from the first step" for name in learnt]
    encoder = [step for stage, step in zip(stages, steps, strict=True) if stage.part == "encoder"]
    if encoder[0] is None:
        return ", ".join([*texts, "the encoder never"])
    return ", ".join([*texts, "the encoder's stages from steps " + ", ".join(map(str, reversed(encoder)))])
