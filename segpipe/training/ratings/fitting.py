"""Fits a rating network: a few minutes on one core, so in a plain loop and without checkpoints."""

from collections.abc import Mapping
from typing import Any

import torch
from torch.utils.data import DataLoader, TensorDataset

from segpipe.networks.rating_network import RatingNetwork
from segpipe.training.crop_augmentation import augment
from segpipe.training.optimisation.optimizers import build_optimizer
from segpipe.training.optimisation.schedulers import build_scheduler
from segpipe.training.ratings.samples import MISSING, RatedSamples
from segpipe.training.ratings.settings import RatingSettings

_CLIP_NORM = 2.0
_LEAST = 1e-6


def fit_ratings(
    network: RatingNetwork,
    samples: RatedSamples,
    *,
    settings: RatingSettings,
    parts: Mapping[str, Mapping[str, Any]],
    seed: int,
) -> RatingNetwork:
    """Trains a network; returns it in eval mode.

    Args:
        network: With fresh weights.
        samples: The nodules to learn from.
        settings: How long, and from how many at a time.
        parts: The sections `optimizer` and `scheduler` of the configuration.
        seed: Of the order, the augmentation and dropout.
    """
    network.centre.copy_(samples.measurements_nm.mean(dim=0))
    network.scale.copy_(samples.measurements_nm.std(dim=0).clamp_min(1e-3))
    optimizer = build_optimizer(parts["optimizer"], network)
    scheduler = build_scheduler(parts["scheduler"], optimizer, settings.steps)
    network.train()
    for step in range(settings.steps):
        torch.manual_seed(seed * 1_000_003 + step)
        batch = torch.randperm(len(samples.names))[: settings.batch_size]
        probabilities = network(augment(samples.crops_n2xyz[batch]), samples.measurements_nm[batch])
        optimizer.zero_grad()
        loss = ordinal_loss(probabilities, samples.levels_nr[batch])
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), _CLIP_NORM)
        optimizer.step()
        scheduler.step()
    return network.eval()


def ordinal_loss(probabilities_brg: torch.Tensor, levels_br: torch.Tensor) -> torch.Tensor:
    """Minus the log likelihood of the readers' grades: the mean over nodules, added up over ratings."""
    known = levels_br != MISSING
    own = probabilities_brg.gather(2, levels_br.clamp_min(0).unsqueeze(2)).squeeze(2)
    losses = -torch.log(own.clamp_min(_LEAST)) * known
    return (losses.sum(dim=0) / known.sum(dim=0).clamp_min(1)).sum()


@torch.inference_mode()
def rate(network: RatingNetwork, samples: RatedSamples) -> torch.Tensor:
    """The probability of each grade of each nodule, (N, ratings, grades)."""
    loaded = DataLoader(TensorDataset(samples.crops_n2xyz, samples.measurements_nm), batch_size=64)
    return torch.cat([network(crops, measurements) for crops, measurements in loaded])
