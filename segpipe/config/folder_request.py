"""Which folder a run or a sweep gets is decided before Hydra makes any, and given to Hydra."""

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from segpipe.config.check import hydra_values, plain
from segpipe.config.overrides import as_text, key_of
from segpipe.system.files.held_folder import hold

_SWEEP_KEY = "hydra.sweep.dir"
_PLAIN = re.compile(r"[\w./-]+")
_HELD = "wait until it has ended, or begin a run of its own without resume=true"


@dataclass(frozen=True)
class FolderRequest:
    """A run or sweep that needs a folder.

    Args:
        wanted: The folder that the configuration names, by default a new one.
        named: Whether the command line names it.
        resume: Whether an earlier run or sweep is to be continued.
        content: The configuration of the run as plain data; none of a sweep, whose jobs have one each.
        words: The overrides of a sweep, without Hydra's own.
        check: Whether the run is only tried, and nothing of it kept.
    """

    wanted: Path
    named: bool
    resume: bool
    content: Mapping[str, Any]
    words: tuple[str, ...] = ()
    check: bool = False


FolderChoice = Callable[[FolderRequest], Path]


class Placing:
    """Gives a run or a sweep its folder, and holds it until `held` is closed.

    Args:
        choose: Decides on the folder.
        holds: Whether this process holds it; of those that train together the first one does.
    """

    def __init__(self, choose: FolderChoice, *, holds: bool) -> None:
        self._choose, self._holds = choose, holds
        self._key = ""
        self._folder: Path | None = None
        self.held = ExitStack()

    def __call__(self, config: DictConfig, mode: RunMode) -> None:
        """Decides on the folder of a composed run or sweep, and writes it into the configuration.

        The jobs of a sweep, which may run elsewhere, and further processes of a run are given the same.
        """
        self._key = _SWEEP_KEY if mode is RunMode.MULTIRUN else "hydra.run.dir"
        request = _request(config, self._key, sweep=mode is RunMode.MULTIRUN)
        folder = self._choose(request)
        if self._holds:
            self.held.enter_context(hold(folder, hint=_HELD))
        self._folder = None if request.check else folder
        with read_write(config), open_dict(config):
            OmegaConf.update(config, self._key, str(folder))
            config.hydra.overrides.hydra = _with_folder(config.hydra.overrides.hydra, self._key, folder)

    @property
    def sweep(self) -> Path | None:
        """The folder of the sweep, if it is one and has its folder."""
        return self._folder if self._key == _SWEEP_KEY else None

    def words_to_resume(self, words: Sequence[str]) -> list[str]:
        """The words of a command line that goes on with the run or sweep that these words began."""
        if self._folder is None:
            return list(words)
        others = [word for word in words if key_of(word) != "resume"]
        return [*_with_folder(others, self._key, self._folder), "resume=true"]


def _request(config: DictConfig, key: str, *, sweep: bool) -> FolderRequest:
    with hydra_values(config):
        return FolderRequest(
            wanted=Path(str(OmegaConf.select(config, key))),
            named=key in map(key_of, config.hydra.overrides.hydra),
            resume=OmegaConf.select(config, "resume") is True,
            content={} if sweep else plain(config),
            words=tuple(config.hydra.overrides.task) if sweep else (),
            check=OmegaConf.select(config, "check") is True,
        )


def _with_folder(words: Sequence[str], key: str, folder: Path) -> list[str]:
    text = str(folder) if _PLAIN.fullmatch(str(folder)) else as_text(str(folder))
    return [*(word for word in words if key_of(word) != key), f"{key}={text}"]
