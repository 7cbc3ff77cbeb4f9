"""From a network's logits to the probability of each class, by what the label map says of the classes."""

import torch

from segpipe.errors import ModelError
from segpipe.labels import LabelMap


def class_probabilities(logits_bcxyz: torch.Tensor, labels: LabelMap) -> torch.Tensor:
    """The probability of each class, (B, K, x, y, z).

    Classes that exclude each other share a softmax with the background, whose own probability is left out; for one
    class a sigmoid of the difference is that softmax, at half the cost. Regions have a sigmoid each.

    Args:
        logits_bcxyz: As many channels as `labels.channels`.
        labels: The classes.

    Raises:
        ModelError: for another number of channels.
    """
    if logits_bcxyz.shape[1] != labels.channels:
        raise channels_error(logits_bcxyz.shape[1], labels)
    if not labels.exclusive:
        return torch.sigmoid(logits_bcxyz)
    if labels.channels == 2:
        return torch.sigmoid(logits_bcxyz[:, 1:] - logits_bcxyz[:, :1])
    return torch.softmax(logits_bcxyz, dim=1)[:, 1:]


def channels_error(found: int, labels: LabelMap) -> ModelError:
    """What is wrong with a network that gives another number of channels than the labels need."""
    names = ", ".join(label.name for label in labels.classes)
    wanted = f"background, {names}" if labels.exclusive else f"the regions {names}"
    return ModelError(
        "the network must give one channel for each class",
        facts={"found": f"{found} channels", "wanted": f"{labels.channels}: {wanted}"},
        hint="take a network that was trained with the recipe's labels, or change recipe.label or recipe.labels",
    )
