"""Which folder a run or a sweep gets is decided before Hydra makes any, and given to Hydra."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from segpipe.config.check import hydra_values, plain
from segpipe.config.overrides import as_text, key_of


@dataclass(frozen=True)
class FolderRequest:
    """A run or sweep that needs a folder.

    Args:
        wanted: The folder that the configuration names, by default a new one.
        named: Whether the command line names it.
        resume: Whether an earlier run or sweep is to be continued.
        content: The configuration of the run as plain data; none of a sweep, whose jobs have one each.
        words: The overrides of a sweep, without Hydra's own.
    """

    wanted: Path
    named: bool
    resume: bool
    content: Mapping[str, Any]
    words: tuple[str, ...] = ()


FolderChoice = Callable[[FolderRequest], Path]


def request_folder(config: DictConfig, mode: RunMode, choose: FolderChoice) -> Path:
    """Lets `choose` decide on the folder of a composed run or sweep, and writes it into the configuration.

    The jobs of a sweep, which may run elsewhere, and further processes of a run are given the same.
    """
    key = "hydra.sweep.dir" if mode is RunMode.MULTIRUN else "hydra.run.dir"
    words = list(config.hydra.overrides.hydra)
    sweep = mode is RunMode.MULTIRUN
    with hydra_values(config):
        request = FolderRequest(
            wanted=Path(str(OmegaConf.select(config, key))),
            named=key in map(key_of, words),
            resume=OmegaConf.select(config, "resume") is True,
            content={} if sweep else plain(config),
            words=tuple(config.hydra.overrides.task) if sweep else (),
        )
    folder = choose(request)
    with read_write(config), open_dict(config):
        OmegaConf.update(config, key, str(folder))
        kept = [word for word in words if key_of(word) != key]
        config.hydra.overrides.hydra = [*kept, f"{key}={as_text(str(folder))}"]
    return folder
