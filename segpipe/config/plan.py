"""Plans: configuration files from anywhere, chosen with `+plan=FILE` as if they were options of a group."""

from collections.abc import Sequence
from pathlib import Path

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf
from omegaconf._utils import get_yaml_loader
from omegaconf.errors import OmegaConfBaseException

from segpipe.config.overrides import as_text
from segpipe.errors import ConfigError
from segpipe.system.files.plain_files import read_yaml

_WORD = "+plan="


def with_plans(words: Sequence[str]) -> list[str]:
    """Stores the file of each `+plan=FILE` where Hydra finds it; plans come after experiments, and keys after both.

    Raises:
        ConfigError: when a plan cannot be read or is not a mapping.
    """
    files = [Path(word.removeprefix(_WORD)).expanduser().absolute() for word in words if word.startswith(_WORD)]
    for file in files:
        ConfigStore.instance().store(
            file.name, _read(file), group=f"plan{file.parent}", package="_global_", provider="plan"
        )
    others = [word for word in words if not word.startswith(_WORD)]
    return [*others, *(f"{_WORD}{as_text(str(file))}" for file in files)]


def _read(file: Path) -> DictConfig:
    try:
        content = OmegaConf.create(read_yaml(file, get_yaml_loader()))
    except (OSError, ValueError, OmegaConfBaseException) as error:
        raise ConfigError("the plan cannot be read", facts={"file": file, "found": error}) from error
    if not isinstance(content, DictConfig):
        raise ConfigError("a plan must be a mapping of keys", facts={"file": file, "found": type(content).__name__})
    return content
