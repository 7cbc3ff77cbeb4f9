"""Fits the network of a second stage: a minute on one core, so in a plain loop and without checkpoints."""

from copy import deepcopy

import torch
from torch.nn import functional

from segpipe.networks.candidate_network import CandidateNetwork
from segpipe.preprocessing.candidate_crop import CandidateCrop
from segpipe.preprocessing.recipe import Recipe
from segpipe.training.crop_augmentation import augment
from segpipe.training.detector.samples import Samples
from segpipe.training.detector.settings import TwoStage

LOOKS = 8
"""So often the validation candidates are looked at; the weights that tell them apart best are kept."""
_BATCH = 128
_WARM_UP = 0.1
_WEIGHT_DECAY = 1e-2


def fit_candidates(
    network: CandidateNetwork, learnt: Samples, watched: Samples | None, *, settings: TwoStage, seed: int
) -> CandidateNetwork:
    """Trains a network; returns it in eval mode with the weights of the lowest validation loss.

    Args:
        network: With fresh weights.
        learnt: Candidates to learn from, some of which are lesions and some are not.
        watched: Candidates of other patients to choose the weights by; None takes the last ones.
        settings: How long, and from how many at a time.
        seed: Of the order, the augmentation and dropout.
    """
    optimizer = torch.optim.AdamW(network.parameters(), lr=settings.lr, weight_decay=_WEIGHT_DECAY)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.lr, total_steps=settings.steps + 1, pct_start=_WARM_UP
    )
    lowest, best = float("inf"), network.state_dict()
    for step in range(1, settings.steps + 1):
        torch.manual_seed(seed * 1_000_003 + step)
        loss = _loss(network.train(), *_draw(learnt, settings.batch_size))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        scheduler.step()
        if watched and step % max(1, settings.steps // LOOKS) == 0:
            found = balanced_loss(network, watched)
            if found < lowest:
                lowest, best = found, deepcopy(network.state_dict())
    network.load_state_dict(best)
    return network.eval()


def try_step(settings: TwoStage, recipe: Recipe) -> None:
    """One step as a fit takes them, on crops of nothing: what it costs does not depend on what they show."""
    crop, count = CandidateCrop.of(recipe, settings.crop_mm), 2
    nothing = Samples(torch.zeros(count, 2, *crop.sides).half(), torch.zeros(count), torch.tensor([True, False]))
    network = CandidateNetwork(channels=settings.layers.channels, dropout=settings.layers.dropout)
    _loss(network, *_draw(nothing, settings.batch_size)).backward()  # type: ignore[no-untyped-call]


@torch.inference_mode()
def see(network: CandidateNetwork, samples: Samples) -> torch.Tensor:
    """The log odds that the network sees in each crop, (N,)."""
    network.eval()
    crops = samples.crops_n2xyz
    return torch.cat([network.see(crops[at : at + _BATCH].float()) for at in range(0, len(crops), _BATCH)])


def balanced_loss(network: CandidateNetwork, samples: Samples) -> float:
    """The mean log loss of lesions and that of others, added up."""
    losses = functional.binary_cross_entropy_with_logits(
        see(network, samples), samples.lesion_n.float(), reduction="none"
    )
    return float(sum(losses[samples.lesion_n == kind].mean() for kind in (True, False)))


def _draw(samples: Samples, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Crops of which half are lesions, and which."""
    kinds = [torch.nonzero(samples.lesion_n == kind)[:, 0] for kind in (True, False)]
    chosen = torch.cat([kind[torch.randint(len(kind), (count // 2,))] for kind in kinds])
    return augment(samples.crops_n2xyz[chosen].float()), samples.lesion_n[chosen].float()


def _loss(network: CandidateNetwork, crops: torch.Tensor, lesion: torch.Tensor) -> torch.Tensor:
    return functional.binary_cross_entropy_with_logits(network.see(crops), lesion)
