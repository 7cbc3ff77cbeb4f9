"""Learning rate schedules by name; each is a closed form of the step, so that a resumed run goes on exactly."""

import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import torch
from annotated_types import Ge, Gt, Interval
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, ReduceLROnPlateau

from segpipe.parts import Registry, build_part
from segpipe.parts.building import try_part

Fraction = Annotated[float, Interval(ge=0.0, le=1.0)]
Start = Annotated[float, Interval(gt=0.0, le=1.0)]
Share = Annotated[float, Interval(ge=0.0, lt=1.0)]


def build_scheduler(spec: Mapping[str, Any], optimizer: Optimizer, max_steps: int) -> LRScheduler:
    """Builds the schedule of `spec`; step it after each optimizer step, `plateau` after each validation.

    The highest rate of every schedule is the optimizer's own `lr`.

    Raises:
        ConfigError: for a name or key that is not known.
    """
    scheduler: LRScheduler = build_part(SCHEDULERS, spec, optimizer=optimizer, max_steps=max_steps)
    return scheduler


def constant(optimizer: Optimizer, max_steps: int, *, warmup: Share) -> LRScheduler:
    """The same rate throughout, after a linear rise over the share `warmup` of all steps."""
    return _scaled(optimizer, lambda step: _rise(step, warmup * max_steps))


def cosine(optimizer: Optimizer, max_steps: int, *, warmup: Share, final_fraction: Fraction) -> LRScheduler:
    """A linear rise over the share `warmup` of all steps, then half a cosine down to `final_fraction` of the rate.

    Source: Loshchilov and Hutter, ICLR 2017, arXiv 1608.03983.
    """
    rising = warmup * max_steps

    def factor(step: int) -> float:
        return _rise(step, rising) * _half_cosine(1.0, final_fraction, _share(step, rising, max_steps))

    return _scaled(optimizer, factor)


def polynomial(optimizer: Optimizer, max_steps: int, *, power: Annotated[float, Gt(0.0)], warmup: Share) -> LRScheduler:
    """(1 − share of steps done)^power down to 0, nnU-Net's choice, after a linear rise."""
    rising = warmup * max_steps

    def factor(step: int) -> float:
        return float(_rise(step, rising) * (1.0 - _share(step, rising, max_steps)) ** power)

    return _scaled(optimizer, factor)


def one_cycle(
    optimizer: Optimizer, max_steps: int, *, warmup: Share, start_fraction: Start, final_fraction: Fraction
) -> LRScheduler:
    """Half a cosine up from `start_fraction` of the rate over the share `warmup`, half a cosine down.

    Momentum is left alone, so that it works with every optimizer.

    Source: Smith and Topin, arXiv 1708.07120.
    """
    top = max(warmup * max_steps - 1.0, 0.0)

    def factor(step: int) -> float:
        if step < top:
            return _half_cosine(start_fraction, 1.0, step / top)
        return _half_cosine(1.0, final_fraction, _share(step, top, max_steps - 1.0))

    return _scaled(optimizer, factor)


def exponential(optimizer: Optimizer, max_steps: int, *, final_fraction: Start, warmup: Share) -> LRScheduler:
    """An exponential fall to `final_fraction` of the rate at the last step, after a linear rise."""
    rising = warmup * max_steps

    def factor(step: int) -> float:
        return float(_rise(step, rising) * final_fraction ** _share(step, rising, max_steps))

    return _scaled(optimizer, factor)


def plateau(
    optimizer: Optimizer,
    max_steps: int,
    *,
    factor: Annotated[float, Interval(gt=0.0, lt=1.0)],
    patience: Annotated[int, Ge(0)],
    min_fraction: Fraction,
) -> LRScheduler:
    """The rate times `factor` after `patience` validations without a lower loss; `min_fraction` of it at least."""
    lowest = [group["lr"] * min_fraction for group in optimizer.param_groups]
    return ReduceLROnPlateau(optimizer, mode="min", factor=factor, patience=patience, min_lr=lowest)


_SHIPPED: dict[str, Callable[..., LRScheduler]] = {
    "constant": constant,
    "cosine": cosine,
    "polynomial": polynomial,
    "one_cycle": one_cycle,
    "plateau": plateau,
    "exponential": exponential,
}
CLOSED_FORMS = tuple(name for name in _SHIPPED if name != "plateau")  # functions of the step alone


def _try_scheduler(spec: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    """Whether it can be built, for plain gradient descent on one number."""
    optimizer = SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    return try_part(lambda: build_scheduler(spec, optimizer, 100), LRScheduler)


SCHEDULERS = Registry(
    "scheduler",
    _SHIPPED,
    group="segpipe.schedulers",
    given=("optimizer", "max_steps"),
    optional=("max_steps",),
    trial=_try_scheduler,
)


class ClosedForm(LambdaLR):
    """A schedule that takes the step alone from a checkpoint; rates follow from the present settings.

    Its state is plain data, because LambdaLR keeps plain functions out of it.
    """

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes to the step of another schedule's state."""
        self.last_epoch, self._step_count = state_dict["last_epoch"], state_dict["_step_count"]
        scales = zip(self.lr_lambdas, self.base_lrs, strict=True)
        self._last_lr = [rate * factor(self.last_epoch) for factor, rate in scales]
        for group, rate in zip(self.optimizer.param_groups, self._last_lr, strict=True):
            group["lr"] = rate


def _scaled(optimizer: Optimizer, factor: Callable[[int], float]) -> LRScheduler:
    return ClosedForm(optimizer, factor)


def _rise(step: int, steps: float) -> float:
    return min((step + 1) / steps, 1.0) if steps >= 1.0 else 1.0


def _share(step: float, start: float, end: float) -> float:
    return min(max((step - start) / (end - start), 0.0), 1.0) if end > start else 1.0


def _half_cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * 0.5 * (1.0 + math.cos(math.pi * share))
