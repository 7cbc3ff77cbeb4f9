"""Optimizers that torch lacks, or has for matrices only, from `pytorch-optimizer`, imported when one is chosen."""

from typing import Any

import torch
from torch import optim

from segpipe.training.optimisation.bounds import Betas, Decay, Groups, Rate, Share, Steps, pair

_HIDDEN_CHANNELS = 8
"""A layer with fewer channels on a side takes images in, gives logits out, or mixes no channels."""


def adabound(
    params: Groups, *, lr: Rate, weight_decay: Decay, betas: Betas, eps: Rate, final_lr: Rate, gamma: Rate
) -> optim.Optimizer:
    """Adam whose step sizes are bounded ever closer to `final_lr`; decoupled weight decay.

    Source: Luo et al., ICLR 2019, arXiv 1902.09843.
    """
    from pytorch_optimizer import AdaBound

    adam = {"lr": lr, "weight_decay": weight_decay, "betas": pair(betas), "eps": eps}
    return AdaBound(params, **adam, final_lr=final_lr, gamma=gamma)  # type: ignore[arg-type]


def lion(params: Groups, *, lr: Rate, weight_decay: Decay, betas: Betas) -> optim.Optimizer:
    """The sign of a momentum; decoupled weight decay. Source: Chen et al., NeurIPS 2023, arXiv 2302.06675."""
    from pytorch_optimizer import Lion

    return Lion(params, lr=lr, weight_decay=weight_decay, betas=pair(betas))


def muon(params: Groups, *, lr: Rate, weight_decay: Decay, momentum: Share, betas: Betas, eps: Rate) -> optim.Optimizer:
    """Orthogonalised momentum for the weights of hidden layers, AdamW with `betas` and `eps` for all others.

    A convolution's weights (O, I, x, y, z) are a matrix of O rows. Updates are as large as AdamW's, so that one rate
    fits both.

    Source:
        Jordan et al. 2024, https://kellerjordan.github.io/posts/muon; Liu et al. 2025, arXiv 2502.16982 (the size).
    """
    from pytorch_optimizer import Muon

    own: dict[bool, dict[str, Any]] = {True: {}, False: {"betas": pair(betas), "eps": eps}}
    groups = [
        {"lr": lr, "weight_decay": weight_decay, **part, **own[part["use_muon"]]}
        for group in params
        for part in _by_layer(group)
    ]
    return Muon(groups, momentum=momentum, use_adjusted_lr=True)


def soap(params: Groups, *, lr: Rate, weight_decay: Decay, betas: Betas, eps: Rate, every: Steps) -> optim.Optimizer:
    """Adam in the eigenbasis of Shampoo's preconditioner, which is found anew every so many steps.

    Each axis of a convolution's weights has a basis of its own. The first step moves nothing.

    Source: Vyas et al., ICLR 2025, arXiv 2409.11321.
    """
    from pytorch_optimizer import SOAP

    return SOAP(params, lr=lr, weight_decay=weight_decay, betas=pair(betas), eps=eps, precondition_frequency=every)


def schedule_free(params: Groups, *, lr: Rate, weight_decay: Decay, betas: Betas, eps: Rate) -> optim.Optimizer:
    """AdamW that averages its weights instead of lowering its rate; take `scheduler=constant` with it.

    Source: Defazio et al., NeurIPS 2024, arXiv 2405.15682.
    """
    from pytorch_optimizer import ScheduleFreeAdamW

    return ScheduleFreeAdamW(params, lr=lr, weight_decay=weight_decay, betas=pair(betas), eps=eps)


def _by_layer(group: dict[str, Any]) -> Groups:
    """The weights of hidden layers, and the others; those that do not decay are no matrices of a layer."""
    weights: list[torch.Tensor] = group["params"]
    hidden = [] if "weight_decay" in group else [weight for weight in weights if _is_hidden(weight)]
    others = [weight for weight in weights if not any(weight is one for one in hidden)]
    parts = ({"params": hidden, "use_muon": True}, {"params": others, "use_muon": False})
    return [{**group, **part} for part in parts if part["params"]]


def _is_hidden(weight: torch.Tensor) -> bool:
    return weight.ndim >= 2 and min(weight.shape[:2]) >= _HIDDEN_CHANNELS
