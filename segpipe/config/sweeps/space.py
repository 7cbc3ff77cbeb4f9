"""The space of a search: which words of a sweep Optuna chooses the values of, and from what."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from segpipe.config.overrides import key_of
from segpipe.errors import ConfigError

if TYPE_CHECKING:
    from optuna.trial import Trial

Distribution = CategoricalDistribution | FloatDistribution | IntDistribution


def split_words(words: Sequence[str], loader: ConfigLoader) -> tuple[dict[str, Distribution], list[str]]:
    """The space by key, and the words that are the same for all trials; of a key that is given twice the last counts.

    Raises:
        ConfigError: when nothing is left to be chosen, or a key cannot be chosen from what is given.
    """
    last = {key_of(word): place for place, word in enumerate(words)}
    kept = [word for place, word in enumerate(words) if last[key_of(word)] == place]
    parsed = OverridesParser.create(config_loader=loader).parse_overrides(kept)
    space = {word.get_key_element(): _distribution(word) for word in parsed if word.is_sweep_override()}
    if not space:
        raise ConfigError(
            "a search needs keys to choose the values of",
            facts={"found": " ".join(words) or "none"},
            hint="+sweep=NAME, or 'optimizer.lr=tag(log,interval(1e-4,1e-2))' augmentation=light,strong",
        )
    return space, [str(word.input_line) for word in parsed if not word.is_sweep_override()]


def draw(trial: "Trial", space: Mapping[str, Distribution]) -> list[str]:
    """Chooses what a trial has not yet chosen; returns the words that say it."""
    return [f"{key}={_suggest(trial, key, among)}" for key, among in space.items()]


def _suggest(trial: "Trial", key: str, among: Distribution) -> Any:
    if isinstance(among, CategoricalDistribution):
        return trial.suggest_categorical(key, among.choices)
    if isinstance(among, IntDistribution):
        return trial.suggest_int(key, among.low, among.high, step=among.step, log=among.log)
    return trial.suggest_float(key, among.low, among.high, step=among.step, log=among.log)


def _distribution(word: Override) -> Distribution:
    try:
        swept = word.value()
        if isinstance(swept, IntervalSweep):
            return _numbers(swept.start, swept.end, log="log" in swept.tags)
        if isinstance(swept, RangeSweep) and not swept.shuffle:
            values = [float(value) if swept.step != int(swept.step) else int(value) for value in swept.range()]
            return _numbers(values[0], values[-1], step=swept.step)
        return CategoricalDistribution(list(word.sweep_string_iterator()))
    except (ValueError, IndexError) as error:
        raise ConfigError(
            "a key cannot be chosen from what is given",
            facts={"found": word.input_line, "why": error},
            hint="interval(LOW,HIGH), tag(log,interval(LOW,HIGH)) with LOW above 0, or choice(A,B,C)",
        ) from error


def _numbers(low: Any, high: Any, *, log: bool = False, step: Any = None) -> FloatDistribution | IntDistribution:
    if isinstance(low, int) and isinstance(high, int):
        return IntDistribution(low, high, log=log, step=int(step or 1))
    return FloatDistribution(low, high, log=log, step=step)
