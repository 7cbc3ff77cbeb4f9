"""Optimizers by name; norms and biases never decay."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any

import torch
from annotated_types import Ge, Gt, Interval
from torch import nn, optim

from segpipe.errors import ConfigError
from segpipe.parts import Registry, build_part
from segpipe.parts.building import try_part

Groups = list[dict[str, Any]]
Rate = Annotated[float, Gt(0.0)]
Decay = Annotated[float, Ge(0.0)]
Share = Annotated[float, Interval(ge=0.0, lt=1.0)]
Betas = tuple[Share, Share]


def build_optimizer(spec: Mapping[str, Any], network: nn.Module) -> optim.Optimizer:
    """Builds the optimizer of `spec` for the trainable parameters of `network`.

    Raises:
        ConfigError: for a name or key that is not known, or a network without trainable parameters.
    """
    optimizer: optim.Optimizer = build_part(OPTIMIZERS, spec, params=parameter_groups(network))
    optimizer.register_load_state_dict_pre_hook(partial(_keep_settings, set(spec) - {"lr"}))
    return optimizer


def parameter_groups(network: nn.Module) -> Groups:
    """The trainable parameters in two groups: weights that decay, and norms, biases and slopes that do not.

    Raises:
        ConfigError: when no parameter is trainable.
    """
    named = [(name, parameter) for name, parameter in network.named_parameters() if parameter.requires_grad]
    if not named:
        raise ConfigError("the network must have trainable parameters", hint="freeze less of it")
    kept = [parameter for name, parameter in named if _is_kept(name, parameter)]
    decaying = [parameter for name, parameter in named if not _is_kept(name, parameter)]
    groups: Groups = [{"params": decaying}, {"params": kept, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def adamw(params: Groups, *, lr: Rate, weight_decay: Decay, betas: Betas, eps: Rate) -> optim.Optimizer:
    """Adam with decoupled weight decay. Source: Loshchilov and Hutter, ICLR 2019, arXiv 1711.05101."""
    return optim.AdamW(params, lr=lr, weight_decay=weight_decay, betas=_pair(betas), eps=eps)


def adam(params: Groups, *, lr: Rate, weight_decay: Decay, betas: Betas, eps: Rate) -> optim.Optimizer:
    """Adam; weight decay is an L2 penalty. Source: Kingma and Ba, ICLR 2015, arXiv 1412.6980."""
    return optim.Adam(params, lr=lr, weight_decay=weight_decay, betas=_pair(betas), eps=eps)


def sgd(params: Groups, *, lr: Rate, weight_decay: Decay) -> optim.Optimizer:
    """Plain gradient descent."""
    return optim.SGD(params, lr=lr, weight_decay=weight_decay)


def momentum(params: Groups, *, lr: Rate, weight_decay: Decay, momentum: Share) -> optim.Optimizer:
    """Gradient descent with momentum."""
    return optim.SGD(params, lr=lr, weight_decay=weight_decay, momentum=momentum)


def nesterov(
    params: Groups, *, lr: Rate, weight_decay: Decay, momentum: Annotated[float, Interval(gt=0.0, lt=1.0)]
) -> optim.Optimizer:
    """Gradient descent with Nesterov's momentum, nnU-Net's choice. Source: Sutskever et al., ICML 2013."""
    return optim.SGD(params, lr=lr, weight_decay=weight_decay, momentum=momentum, nesterov=True)


def nadam(params: Groups, *, lr: Rate, weight_decay: Decay, betas: Betas, eps: Rate) -> optim.Optimizer:
    """Adam with Nesterov's momentum; decoupled weight decay. Source: Dozat, ICLR workshop 2016."""
    return optim.NAdam(
        params, lr=lr, weight_decay=weight_decay, betas=_pair(betas), eps=eps, decoupled_weight_decay=True
    )


def radam(params: Groups, *, lr: Rate, weight_decay: Decay, betas: Betas, eps: Rate) -> optim.Optimizer:
    """Rectified Adam; decoupled weight decay. Source: Liu et al., ICLR 2020, arXiv 1908.03265."""
    return optim.RAdam(
        params, lr=lr, weight_decay=weight_decay, betas=_pair(betas), eps=eps, decoupled_weight_decay=True
    )


def adamax(params: Groups, *, lr: Rate, weight_decay: Decay, betas: Betas, eps: Rate) -> optim.Optimizer:
    """Adam with the maximum norm; weight decay is an L2 penalty. Source: Kingma and Ba, arXiv 1412.6980."""
    return optim.Adamax(params, lr=lr, weight_decay=weight_decay, betas=_pair(betas), eps=eps)


def rmsprop(
    params: Groups, *, lr: Rate, weight_decay: Decay, alpha: Share, momentum: Share, eps: Rate
) -> optim.Optimizer:
    """Gradients divided by a running mean of their size; weight decay is an L2 penalty."""
    return optim.RMSprop(params, lr=lr, weight_decay=weight_decay, alpha=alpha, momentum=momentum, eps=eps)


def adabound(
    params: Groups, *, lr: Rate, weight_decay: Decay, betas: Betas, eps: Rate, final_lr: Rate, gamma: Rate
) -> optim.Optimizer:
    """Adam whose step sizes are bounded ever closer to `final_lr`; decoupled weight decay.

    Source: Luo et al., ICLR 2019, arXiv 1902.09843.
    """
    from pytorch_optimizer import AdaBound

    return AdaBound(
        params,
        lr=lr,
        weight_decay=weight_decay,
        betas=_pair(betas),
        eps=eps,
        final_lr=final_lr,
        gamma=gamma,
    )


_SHIPPED: dict[str, Callable[..., optim.Optimizer]] = {
    "adamw": adamw,
    "adam": adam,
    "sgd": sgd,
    "momentum": momentum,
    "nesterov": nesterov,
    "nadam": nadam,
    "radam": radam,
    "adamax": adamax,
    "rmsprop": rmsprop,
    "adabound": adabound,
}


def _try_optimizer(spec: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    """Whether it can be built, for a network of one convolution."""
    with torch.random.fork_rng(devices=[]):
        groups = parameter_groups(nn.Conv3d(1, 1, 1))
    return try_part(lambda: build_part(OPTIMIZERS, spec, params=groups), optim.Optimizer)


OPTIMIZERS = Registry("optimizer", _SHIPPED, group="segpipe.optimizers", given=("params",), trial=_try_optimizer)


def _keep_settings(keys: set[str], optimizer: optim.Optimizer, state: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint's state with the present settings, which may differ; the rate is the schedule's."""
    groups = zip(optimizer.param_groups, state["param_groups"], strict=False)
    kept = [{**saved, **{key: own[key] for key in keys & own.keys()}} for own, saved in groups]
    return {**state, "param_groups": kept}


def _is_kept(name: str, parameter: torch.Tensor) -> bool:
    # Norm scales, biases and PReLU slopes have one dimension; Swin's table of position biases has two.
    return parameter.ndim <= 1 or "bias" in name.rsplit(".", maxsplit=1)[-1]


def _pair(betas: Betas) -> tuple[float, float]:
    first, second = betas
    return float(first), float(second)
