"""What came of a row, as its folder holds it: how far it came, what validation says, and what its steps cost."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal

import torch

from segpipe.config.schema import Settings
from segpipe.networks import build_network
from segpipe.system.files.atomic_write import write_json
from segpipe.system.files.plain_files import read_json
from segpipe.training.callbacks import read_history
from segpipe.training.checkpoints.files import LAST, read_checkpoint
from segpipe.training.checkpoints.saving import MONITOR
from segpipe.training.fitting import recipe_of

State = Literal["trained", "pruned", "diverged"]
FILE = "row.json"


@dataclass(frozen=True)
class Outcome:
    """What came of a row's training.

    Args:
        state: Whether it came to its end.
        steps: Optimizer steps that were taken.
        pseudo_dice: Of the validation patches at the last validation; None where there was none.
        ms_per_step: The median time of a step, in milliseconds, with the time that it waited for data.
        state_bytes_per_weight: Bytes of the optimizer's state for each weight of the network.
    """

    state: State
    steps: int
    pseudo_dice: float | None
    ms_per_step: float | None
    state_bytes_per_weight: float | None


def read_outcome(folder: Path) -> Outcome | None:
    """What came of a row; None as long as it is not trained."""
    return Outcome(**read_json(folder / FILE)) if (folder / FILE).is_file() else None


def write_outcome(state: State, settings: Settings, folder: Path) -> Outcome:
    """Says what came of a row, of what its training has written."""
    history = read_history(folder)
    figures = curve(folder)
    batch = settings.training.batch_size * settings.training.accumulate
    rates = [point["train/samples_per_second"] for point in history if "train/samples_per_second" in point]
    outcome = Outcome(
        state,
        steps=int(max([*figures, *(point["step"] for point in history)], default=0)),
        pseudo_dice=figures[max(figures)] if figures else None,
        ms_per_step=1000 * batch / median(rates) if rates else None,
        state_bytes_per_weight=_state_bytes(settings, folder / "checkpoints" / LAST),
    )
    write_json(folder / FILE, asdict(outcome), what="the outcome of a row")
    return outcome


def curve(folder: Path) -> dict[int, float]:
    """The pseudo-Dice of a row by the steps that were taken; Lightning counts those before the last one."""
    return {int(point["step"]) + 1: point[MONITOR] for point in read_history(folder) if MONITOR in point}


def _state_bytes(settings: Settings, checkpoint: Path) -> float | None:
    if not checkpoint.is_file():
        return None
    states = read_checkpoint(checkpoint)["optimizer_states"]
    with torch.random.fork_rng(devices=[]):
        network = build_network(settings.network, out_channels=recipe_of(settings).label_map.channels)
    return sum(_sizes([state["state"] for state in states])) / sum(weight.numel() for weight in network.parameters())


def _sizes(value: Any) -> Iterator[int]:
    """Bytes of each tensor in nested plain data."""
    if isinstance(value, torch.Tensor):
        yield value.numel() * value.element_size()
    elif isinstance(value, Mapping | list | tuple):
        for one in value.values() if isinstance(value, Mapping) else value:
            yield from _sizes(one)
