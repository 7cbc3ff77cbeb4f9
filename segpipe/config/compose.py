"""From overrides to a checked configuration: Hydra composes, and all mistakes are answered at once before any work."""

import pickle
import shlex
from argparse import Namespace
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from hydra import version
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import IConfigRepository
from hydra._internal.defaults_list import DefaultsList
from hydra._internal.utils import create_config_search_path, get_args
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.default_element import ResultDefault
from hydra.core.utils import setup_globals
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from segpipe.config.check import Registries, find_mistakes
from segpipe.config.credentials import config_without_credentials, words_without_credentials
from segpipe.config.folder import conf_folder
from segpipe.config.foreign_parts import with_foreign_parts
from segpipe.config.mistakes import raise_mistakes
from segpipe.config.overrides import each_value, explain_refusal, key_of, reason_of
from segpipe.config.parsed_files import ParsedFiles, state_of
from segpipe.config.sweeps.search import prepare_search
from segpipe.config.sweeps.slurm import prepare_slurm
from segpipe.errors import ConfigError

HYDRA = "1.3"
"""The version of Hydra whose defaults are meant, also under a later one."""

_merged: dict[str, bytes] = {}  # see `state_of`; pickled


def compose(overrides: Sequence[str], registries: Callable[[], Registries]) -> DictConfig:
    """Composes a configuration in a program, as the command line does.

    Raises:
        ConfigError: listing all mistakes.
    """
    version.setbase(HYDRA)
    setup_globals()
    loader = CheckedLoader(create_config_search_path(str(conf_folder())), registries=registries, flags=get_args([]))
    words = with_foreign_parts(words_without_credentials(overrides), registries())
    return loader.load_configuration("config", words, RunMode.RUN)


@dataclass
class Attempt:
    """What the overrides of one job compose to.

    Args:
        config: Composed of the overrides that Hydra takes.
        taken: Those overrides; a misspelt option is replaced by the nearest.
        mistakes: In the other overrides, and in what was composed.
    """

    config: DictConfig
    taken: list[str] = field(default_factory=list)
    mistakes: list[str] = field(default_factory=list)


class CheckedLoader(ConfigLoaderImpl):
    """Hydra's loader, which also checks what it composes; each job of a sweep passes here before it runs.

    Args:
        config_search_path: Where configurations lie.
        registries: Gives the parts that sections may name.
        flags: Hydra's flags of the command line.
        place: Called once, with the first configuration that is to be run and its mode; decides on its folder.
    """

    def __init__(
        self,
        config_search_path: ConfigSearchPath,
        *,
        registries: Callable[[], Registries],
        flags: Namespace,
        place: Callable[[DictConfig, RunMode], None] | None = None,
    ) -> None:
        super().__init__(config_search_path)
        self.repository = ParsedFiles(config_search_path)
        self.registries = registries
        self.flags = flags
        self.place = place

    def load_configuration(
        self,
        config_name: str | None,
        overrides: list[str],
        run_mode: RunMode,
        from_shell: bool = True,
        validate_sweep_overrides: bool = True,
    ) -> DictConfig:
        """See Hydra. Of a sweep as a whole each value of each key is checked.

        Raises:
            ConfigError: listing all mistakes, each with its path, what is allowed and the nearest match.
        """
        if config_name is None or not validate_sweep_overrides:  # Hydra shows its help, or looks only for its mode
            return self._load(config_name, overrides, run_mode, from_shell, validate_sweep_overrides)
        jobs = [overrides] if run_mode is RunMode.RUN else each_value(self._swept(config_name, overrides), self)
        attempts = [self._attempt(config_name, words) for words in jobs]
        mistakes = [mistake for attempt in attempts for mistake in attempt.mistakes]
        raise_mistakes(mistakes, show=self._show(attempts[0].taken))
        sweep = run_mode is RunMode.MULTIRUN
        config = self._load(config_name, overrides, run_mode, from_shell) if sweep else attempts[0].config
        if sweep:
            prepare_slurm(config)
            prepare_search(config)
        place, self.place = self.place, None  # a job of a sweep has its place in the sweep's folder
        if place:
            place(config, run_mode)
        return config

    def compute_defaults_list(self, config_name: str | None, overrides: list[str], run_mode: RunMode) -> DefaultsList:
        """See Hydra.

        Raises:
            ConfigError: listing all mistakes.
        """
        self.load_configuration(config_name, overrides, run_mode)
        return super().compute_defaults_list(config_name, overrides, run_mode)

    def _compose_config_from_defaults_list(self, defaults: list[ResultDefault], repo: IConfigRepository) -> DictConfig:
        """See Hydra. The same files are merged once."""
        state = state_of(defaults, repo)
        if state is None:
            return super()._compose_config_from_defaults_list(defaults, repo)
        if state in _merged:
            config: DictConfig = pickle.loads(_merged[state])
            return config
        merged = super()._compose_config_from_defaults_list(defaults, repo)
        with suppress(pickle.PicklingError):  # e.g. in a job of Slurm, where Hydra has imported its plug-ins twice
            _merged[state] = pickle.dumps(merged)
        return merged

    def _load(self, config_name: str | None, words: list[str], run_mode: RunMode, *checks: bool) -> DictConfig:
        return config_without_credentials(super().load_configuration(config_name, words, run_mode, *checks))

    def _swept(self, config_name: str, words: list[str]) -> list[str]:
        """The words of a sweep with those that its sweeper has of its own, but for keys that are given."""
        try:
            config = self._load(config_name, words, RunMode.MULTIRUN)
        except Exception:
            return words  # with mistakes, which are found in turn
        own = OmegaConf.select(config, "hydra.sweeper.params") or {}
        given = set(map(key_of, words))
        return [*words, *(f"{key}={value}" for key, value in own.items() if key not in given)]

    def _attempt(self, config_name: str, words: list[str]) -> Attempt:
        try:
            attempt = Attempt(self._load(config_name, words, RunMode.RUN), words)
        except Exception:
            attempt = self._word_by_word(config_name, words)
        refused = tuple(key_of(word) + end for word in words if word not in attempt.taken for end in "=:")
        shown = bool(self.flags.cfg or self.flags.info or self.flags.help)
        found = find_mistakes(attempt.config, self.registries(), bare=shown)
        attempt.mistakes += [mistake for mistake in found if not mistake.startswith(refused)]
        return attempt

    def _word_by_word(self, config_name: str, words: Sequence[str]) -> Attempt:
        """Adds one override after the other, options first, and explains each that Hydra refuses."""
        attempt = Attempt(self._primary(config_name))
        waiting = deque(sorted(words, key=lambda word: not self._is_choice(word)))
        while waiting:
            word = waiting.popleft()
            try:
                attempt.config = self._load(config_name, [*attempt.taken, word], RunMode.RUN)
                attempt.taken.append(word)
            except Exception as error:
                mistake, meant = explain_refusal(word, error, attempt.config)
                attempt.mistakes.append(mistake)
                waiting.extendleft(meant)
        return attempt

    def _primary(self, config_name: str) -> DictConfig:
        try:
            return self._load(config_name, [], RunMode.RUN)
        except Exception as error:
            known = [name for name in self.get_group_options("") if not name.startswith("_")]
            facts = {"--config-name": config_name, "known": ", ".join(known), "found": reason_of(error)}
            raise ConfigError("the primary configuration cannot be composed", facts=facts) from error

    def _is_choice(self, word: str) -> bool:
        return bool(self.repository.group_exists(key_of(word).partition("@")[0]))

    def _show(self, words: Sequence[str]) -> str:
        flags = {"--config-path": self.flags.config_path, "--config-name": self.flags.config_name}
        flags["--config-dir"] = self.flags.config_dir
        given = [f"{flag}={value}" for flag, value in flags.items() if value]
        choices = [word for word in words if self._is_choice(word)]
        return shlex.join(["python", "-m", "segpipe", *given, *choices, "--cfg", "job"])
