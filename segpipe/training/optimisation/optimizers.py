"""Optimizers by name; norms and biases never decay."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import nn, optim

from segpipe.errors import ConfigError
from segpipe.parts import Registry, build_part
from segpipe.parts.building import try_part
from segpipe.training.optimisation.bounds import Betas, Decay, Groups, Rate, Share, Weight, pair
from segpipe.training.optimisation.library_optimizers import adabound, lion, muon, schedule_free, soap


def build_optimizer(
    spec: Mapping[str, Any], network: nn.Module, *, scale: Callable[[str], float] | None = None
) -> optim.Optimizer:
    """Builds the optimizer of `spec` for the trainable parameters of `network`.

    Args:
        spec: Its section.
        network: The network.
        scale: Share of the optimizer's learning rate by a parameter's name; all have the whole rate without it.

    Raises:
        ConfigError: for a name or key that is not known, or a network without trainable parameters.
    """
    groups = parameter_groups(network) if scale is None else _scaled_groups(spec, network, scale)
    optimizer: optim.Optimizer = build_part(OPTIMIZERS, spec, params=groups)
    optimizer.register_load_state_dict_pre_hook(partial(_keep_settings, set(spec) - {"lr"}))
    return optimizer


def averages_itself(spec: Mapping[str, Any]) -> bool:
    """Whether the optimizer of `spec` has averaged weights of its own, which `eval()` puts into the network."""
    return hasattr(build_optimizer(spec, _one_layer()), "eval")


def needs_whole_weights(spec: Mapping[str, Any]) -> bool:
    """Whether the optimizer of `spec` cannot work on the shards of weights that `trainer=fsdp` gives it."""
    return spec.get("name") == "soap" or averages_itself(spec)


def parameter_groups(network: nn.Module) -> Groups:
    """The trainable parameters in two groups: weights that decay, and norms, biases and slopes that do not.

    Raises:
        ConfigError: when no parameter is trainable.
    """
    return _two_groups(_trainable(network))


def _scaled_groups(spec: Mapping[str, Any], network: nn.Module, scale: Callable[[str], float]) -> Groups:
    """Two groups, as of `parameter_groups`, for each share of the rate; those of the largest share come first."""
    if "lr" not in spec:
        raise ConfigError(
            "rates that differ by layer need the optimizer's rate",
            facts={"missing": "optimizer.lr"},
            hint="optimizer.lr=1e-3, or finetune.layer_decay=1",
        )
    named = _trainable(network)
    shares = sorted({scale(name) for name, _ in named}, reverse=True)
    layers = {share: _two_groups([(name, value) for name, value in named if scale(name) == share]) for share in shares}
    return [{**group, "lr": float(spec["lr"]) * share} for share, groups in layers.items() for group in groups]


def _trainable(network: nn.Module) -> list[tuple[str, nn.Parameter]]:
    named = [(name, parameter) for name, parameter in network.named_parameters() if parameter.requires_grad]
    if not named:
        raise ConfigError("the network must have trainable parameters", hint="freeze less of it")
    return named


def _two_groups(named: list[tuple[str, nn.Parameter]]) -> Groups:
    kept = [parameter for name, parameter in named if _is_kept(name, parameter)]
    decaying = [parameter for name, parameter in named if not _is_kept(name, parameter)]
    groups: Groups = [{"params": decaying}, {"params": kept, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def adamw(params: Groups, *, lr: Rate, weight_decay: Decay, betas: Betas, eps: Rate) -> optim.Optimizer:
    """Adam with decoupled weight decay. Source: Loshchilov and Hutter, ICLR 2019, arXiv 1711.05101."""
    return optim.AdamW(params, lr=lr, weight_decay=weight_decay, betas=pair(betas), eps=eps)


def adam(params: Groups, *, lr: Rate, weight_decay: Decay, betas: Betas, eps: Rate) -> optim.Optimizer:
    """Adam; weight decay is an L2 penalty. Source: Kingma and Ba, ICLR 2015, arXiv 1412.6980."""
    return optim.Adam(params, lr=lr, weight_decay=weight_decay, betas=pair(betas), eps=eps)


def sgd(params: Groups, *, lr: Rate, weight_decay: Decay) -> optim.Optimizer:
    """Plain gradient descent. Source: Robbins and Monro, Annals of Mathematical Statistics 22 (1951), 400–407."""
    return optim.SGD(params, lr=lr, weight_decay=weight_decay)


def momentum(params: Groups, *, lr: Rate, weight_decay: Decay, momentum: Share) -> optim.Optimizer:
    """Gradient descent with momentum. Source: Polyak, USSR Comput. Math. Math. Phys. 4 (1964), 1–17."""
    return optim.SGD(params, lr=lr, weight_decay=weight_decay, momentum=momentum)


def nesterov(params: Groups, *, lr: Rate, weight_decay: Decay, momentum: Weight) -> optim.Optimizer:
    """Gradient descent with Nesterov's momentum, nnU-Net's choice. Source: Sutskever et al., ICML 2013."""
    return optim.SGD(params, lr=lr, weight_decay=weight_decay, momentum=momentum, nesterov=True)


def nadam(params: Groups, *, lr: Rate, weight_decay: Decay, betas: Betas, eps: Rate) -> optim.Optimizer:
    """Adam with Nesterov's momentum; decoupled weight decay. Source: Dozat, ICLR workshop 2016."""
    return optim.NAdam(
        params, lr=lr, weight_decay=weight_decay, betas=pair(betas), eps=eps, decoupled_weight_decay=True
    )


def radam(params: Groups, *, lr: Rate, weight_decay: Decay, betas: Betas, eps: Rate) -> optim.Optimizer:
    """Rectified Adam; decoupled weight decay. Source: Liu et al., ICLR 2020, arXiv 1908.03265."""
    return optim.RAdam(
        params, lr=lr, weight_decay=weight_decay, betas=pair(betas), eps=eps, decoupled_weight_decay=True
    )


def adamax(params: Groups, *, lr: Rate, weight_decay: Decay, betas: Betas, eps: Rate) -> optim.Optimizer:
    """Adam with the maximum norm; weight decay is an L2 penalty. Source: Kingma and Ba, arXiv 1412.6980."""
    return optim.Adamax(params, lr=lr, weight_decay=weight_decay, betas=pair(betas), eps=eps)


def rmsprop(
    params: Groups, *, lr: Rate, weight_decay: Decay, alpha: Share, momentum: Share, eps: Rate
) -> optim.Optimizer:
    """Gradients divided by a running mean of their size; weight decay is an L2 penalty.

    Source: Tieleman and Hinton, Coursera 2012, Neural Networks for Machine Learning, lecture 6e.
    """
    return optim.RMSprop(params, lr=lr, weight_decay=weight_decay, alpha=alpha, momentum=momentum, eps=eps)


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
    "lion": lion,
    "muon": muon,
    "soap": soap,
    "schedule_free": schedule_free,
}


def _try_optimizer(spec: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    """Whether it can be built, for a network of one convolution."""
    groups = parameter_groups(_one_layer())
    return try_part(lambda: build_part(OPTIMIZERS, spec, params=groups), optim.Optimizer)


OPTIMIZERS = Registry("optimizer", _SHIPPED, group="segpipe.optimizers", given=("params",), trial=_try_optimizer)


def _one_layer() -> nn.Module:
    """A network of one convolution, made without a draw from torch's generator."""
    with torch.random.fork_rng(devices=[]):
        return nn.Conv3d(1, 1, 1)


def _keep_settings(keys: set[str], optimizer: optim.Optimizer, state: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint's state with the present settings, which may differ; the rate is the schedule's."""
    groups = zip(optimizer.param_groups, state["param_groups"], strict=False)
    kept = [{**saved, **{key: own[key] for key in keys & own.keys()}} for own, saved in groups]
    return {**state, "param_groups": kept}


def _is_kept(name: str, parameter: torch.Tensor) -> bool:
    # Norm scales, biases and PReLU slopes have one dimension; Swin's table of position biases has two.
    return parameter.ndim <= 1 or "bias" in name.rsplit(".", maxsplit=1)[-1]
