"""From a composed configuration to checked settings."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from segpipe.config.credentials import paths_with_passwords
from segpipe.config.mistakes import raise_mistakes
from segpipe.config.schema import SectionCheck, Settings, check_settings
from segpipe.parts import Registry

_PASSWORD = "a password would be written into the run's folder; let the part read it from the environment"
Registries = Mapping[str, Registry | SectionCheck]


def find_mistakes(config: DictConfig, registries: Registries, *, bare: bool = False) -> list[str]:
    """All mistakes in a composed configuration, one line each.

    Args:
        config: With Hydra's section.
        registries: See `check_settings`.
        bare: Values that must be given may be missing, since the configuration is only shown.
    """
    own = _own(config)
    try:
        with hydra_values(config):
            content = _plain(own)
    except OmegaConfBaseException as error:
        return [f"{error.full_key}: {str(error).splitlines()[0]}"]
    missing = sorted(OmegaConf.missing_keys(own))
    absent = tuple(path + end for path in missing for end in "=:")
    found = [mistake for mistake in check_settings(content, registries)[1] if not mistake.startswith(absent)]
    found += [f"{path}: {_PASSWORD}" for path in paths_with_passwords(content)]
    return [*(f"{path}: must be given, e.g. {path}=/data/my_scans" for path in missing if not bare), *found]


def settings_of(config: DictConfig, registries: Registries) -> Settings:
    """The typed settings of a composed configuration.

    Raises:
        ConfigError: listing all mistakes.
    """
    return checked(plain(config), registries)


def checked(content: Mapping[str, Any], registries: Registries) -> Settings:
    """The typed settings of a configuration as plain data.

    Raises:
        ConfigError: listing all mistakes.
    """
    settings, mistakes = check_settings(content, registries)
    raise_mistakes(mistakes)
    assert settings is not None
    return settings


def plain(config: DictConfig) -> dict[str, Any]:
    """A composed configuration as plain resolved data, without Hydra's own section."""
    return _plain(_own(config))


@contextmanager
def hydra_values(config: DictConfig) -> Iterator[None]:
    """Lets `${hydra:…}` resolve before there is a job, whose number and folder are only examples here."""
    example, instance = OmegaConf.masked_copy(config, "hydra"), HydraConfig.instance()
    with open_dict(example.hydra):
        example.hydra.job.update(id="0", num=0)
        example.hydra.runtime.output_dir = "."
    example.hydra._set_parent(config)  # as Hydra does: it may refer to the other sections
    before = instance.cfg
    instance.cfg = cast(HydraConf, example)
    try:
        yield
    finally:
        instance.cfg = before


def _plain(own: DictConfig) -> dict[str, Any]:
    content = OmegaConf.to_container(own, resolve=True)
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}


def _own(config: DictConfig) -> DictConfig:
    return OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
