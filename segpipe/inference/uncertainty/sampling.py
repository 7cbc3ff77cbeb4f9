"""Asks a network several times about the same patches: mirrored, member by member, or with dropout at work."""

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import nn
from torch.nn.modules.dropout import _DropoutNd

from segpipe.errors import ConfigError
from segpipe.inference.engines.engine import Engine, TorchEngine
from segpipe.inference.window.sliding import flipped_views, flips_of, mean_of, predict_flipped
from segpipe.labels import LabelMap
from segpipe.networks.activation import class_probabilities
from segpipe.networks.ensemble import Ensemble

METHODS = ("flips", "ensemble", "dropout")
AUTO = "auto"
ALL_AXES = (0, 1, 2)
PASSES = 10
"""With dropout; the error of a mean over so many is a third of what one pass differs."""


class Sampling:
    """Probabilities that count, and next to them what several answers of the network say of its uncertainty.

    Args:
        engine: Runs the network.
        method: One of `METHODS`: the views mirrored along `flips` (along all axes where the model has none), the
            members of an ensemble, or `PASSES` passes with dropout.
        labels: The classes.
        flips: Axes of test-time flips, whose mean counts; see `predict_flipped`.
        temperature: Divides the log odds of the answers, see `segpipe.evaluation.calibration`; of what counts it does
            not.
    """

    def __init__(
        self, engine: Engine, method: str, labels: LabelMap, flips: Sequence[int] = (), *, temperature: float = 1.0
    ) -> None:
        self.engine, self.method, self.labels, self.flips = engine, method, labels, flips
        self.temperature = temperature

    def __call__(self, patches_bcxyz: torch.Tensor) -> torch.Tensor:
        """(B, K + 2, x, y, z): the K classes as without sampling, mean foreground of the answers, their disagreement.

        The disagreement is the mutual information of answer and network: the entropy of the mean less the mean of the
        entropies, in bits. Both count foreground against background.

        Source:
            Houlsby et al., arXiv 1112.5745 (BALD); Gal and Ghahramani, ICML 2016, for dropout; Wang et al.,
            Neurocomputing 338 (2019), for mirrored views.
        """
        ask = {"flips": self._mirrored, "ensemble": self._members, "dropout": self._dropped}[self.method]
        counted, answers = ask(patches_bcxyz)
        foreground = torch.stack([_foreground(answer, self.labels) for answer in answers])
        if self.temperature != 1:
            foreground = torch.sigmoid(torch.logit(foreground, eps=1e-7) / self.temperature)
        mean = foreground.mean(0)
        information = (_bits(mean) - _bits(foreground).mean(0)).clamp_min(0)
        return torch.cat([counted, mean[:, None], information[:, None]], dim=1)

    def _mirrored(self, patches_bcxyz: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        views = list(flipped_views(self.engine, patches_bcxyz, self.flips or ALL_AXES))
        return mean_of(views if self.flips else views[:1]), views

    def _members(self, patches_bcxyz: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """What the members say on the way to the answer that counts: no pass is spent on it."""
        kept: list[list[torch.Tensor]] = []
        with ExitStack() as hooks:
            for member in _members_of(self.engine):
                kept.append(hooks.enter_context(_recorded(member)))
            counted = predict_flipped(self.engine, patches_bcxyz, self.flips)
        return counted, [mean_of(self._unflipped(logits, counted)) for logits in kept]

    def _unflipped(self, logits: Sequence[torch.Tensor], like: torch.Tensor) -> Iterator[torch.Tensor]:
        for answer, axes in zip(logits, flips_of(self.flips), strict=True):
            yield class_probabilities(answer.float(), self.labels).flip(axes).to(like.device)

    def _dropped(self, patches_bcxyz: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Each pass drops the same for every window, so that a scan's answers are those of one thinned network each."""
        counted = predict_flipped(self.engine, patches_bcxyz, self.flips)
        assert isinstance(self.engine, TorchEngine)
        device = self.engine.device
        with _dropping(self.engine.network), torch.random.fork_rng([device] if device.type == "cuda" else []):
            answers = []
            for number in range(PASSES):
                torch.manual_seed(number)
                answers.append(self.engine(patches_bcxyz))
        return counted, answers


def choose_method(wanted: str, engine: Engine) -> str:
    """The method by which an engine's network can say how sure it is.

    Args:
        wanted: One of `METHODS`, or `AUTO`: `ensemble` where the members can be asked, else `flips`.
        engine: Runs the network.

    Raises:
        ConfigError: when the network or what runs it cannot answer so.
    """
    if wanted == AUTO:
        return "ensemble" if len(_members_of(engine)) > 1 else "flips"
    if wanted == "ensemble" and len(_members_of(engine)) < 2:
        raise _refusal(wanted, "a network of several members, run by PyTorch", engine)
    if wanted == "dropout" and not _dropouts_of(engine):
        raise _refusal(wanted, "a network that was trained with dropout, run by PyTorch", engine)
    return wanted


def _refusal(wanted: str, needed: str, engine: Engine) -> ConfigError:
    found = type(engine.network).__name__ if isinstance(engine, TorchEngine) else "a program without its parts"
    return ConfigError(
        f"--uncertainty {wanted} needs {needed}",
        facts={"found": f"{found}, {getattr(engine, 'name', 'an engine of your own')}"},
        hint="--uncertainty flips asks any network, by any backend",
    )


def _members_of(engine: Engine) -> Sequence[nn.Module]:
    network = engine.network if isinstance(engine, TorchEngine) else None
    return list(network.members) if isinstance(network, Ensemble) else []


def _dropouts_of(engine: Engine) -> list[_DropoutNd]:
    return _active_dropouts(engine.network) if isinstance(engine, TorchEngine) else []


def _active_dropouts(network: nn.Module) -> list[_DropoutNd]:
    return [module for module in network.modules() if isinstance(module, _DropoutNd) and module.p > 0]


@contextmanager
def _recorded(member: nn.Module) -> Iterator[list[torch.Tensor]]:
    kept: list[torch.Tensor] = []
    hook = member.register_forward_hook(lambda module, given, logits: kept.append(logits))
    try:
        yield kept
    finally:
        hook.remove()


@contextmanager
def _dropping(network: nn.Module) -> Iterator[None]:
    """Dropout at work, and nothing else as in training: batch norms keep what they have learnt."""
    dropouts = _active_dropouts(network)
    try:
        for module in dropouts:
            module.train()
        yield
    finally:
        for module in dropouts:
            module.eval()


def _foreground(probability_bkxyz: torch.Tensor, labels: LabelMap) -> torch.Tensor:
    """The probability of any class; see `segpipe.inference.window.decision.foreground_probability`."""
    if probability_bkxyz.shape[1] == 1 or not labels.exclusive:
        return probability_bkxyz[:, 0]
    return probability_bkxyz.sum(1).clamp_max(1)


def _bits(probability: torch.Tensor) -> torch.Tensor:
    """Entropy of a yes-or-no answer."""
    nats: torch.Tensor = torch.special.entr(probability) + torch.special.entr(1 - probability)
    return nats / math.log(2)
