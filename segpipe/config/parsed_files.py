"""Parses each configuration file once and merges the same files once, since a sweep takes many compositions."""

import pickle
from collections.abc import Sequence
from pathlib import Path

from hydra._internal import defaults_list as hydra_defaults
from hydra._internal.config_repository import ConfigRepository, IConfigRepository
from hydra._internal.defaults_list import Overrides
from hydra.core.default_element import InputDefault, ResultDefault
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult, ConfigSource
from omegaconf import DictConfig, OmegaConf

from segpipe.config.parent_options import OPTION

_parsed: dict[tuple[str, ...], bytes] = {}  # pickled, which is read in a fifth of the time of a deep copy
_interpolation_map = hydra_defaults._create_interpolation_map


class ParsedFiles(ConfigRepository):
    """Hydra's repository of configurations, which parses a file again only after its time or size has changed."""

    def load_config(self, config_path: str) -> ConfigResult | None:
        """See Hydra."""
        source = self._find_object_source(config_path, ObjectType.CONFIG)
        if source is None or source.scheme() not in ("file", "pkg"):
            return super().load_config(config_path)
        key = source.provider, source.full_path(), config_path, _version(source, config_path)
        if key not in _parsed:
            _parsed[key] = pickle.dumps(super().load_config(config_path))
        result: ConfigResult | None = pickle.loads(_parsed[key])
        return result


def state_of(defaults: Sequence[ResultDefault], repository: IConfigRepository) -> str | None:
    """All that decides what a list of configurations is merged to, or None where one of them may change unseen."""
    parts = []
    for default in defaults:
        path = default.config_path or ""
        source = _source_of(path, repository)
        if source is None or _is_stored_anew(path):
            return None
        parts.append(f"{default} {source.full_path()} {_version(source, path)}")
    return "\n".join(parts)


def _is_stored_anew(config_path: str) -> bool:
    """Whether it is no file of its own, but what each command line stores: a plan, or what a model says of itself."""
    return config_path.startswith("plan/") or config_path.rpartition("/")[2] == OPTION


def _source_of(config_path: str, repository: IConfigRepository) -> ConfigSource | None:
    return next((source for source in repository.get_sources() if source.is_config(config_path)), None)


def _version(source: ConfigSource, config_path: str) -> str:
    if source.scheme() != "file":  # installed
        return ""
    file = Path(source.path, source._normalize_file_name(config_path)).resolve()
    status = file.stat()
    return f"{file} {status.st_mtime_ns} {status.st_size}"


def _map_if_read(overrides: Overrides, defaults_list: list[InputDefault], self_added: bool) -> DictConfig:
    """The choices that `${…}` in a list of defaults refers to: Hydra gathers them for each file, and reads few."""
    read = any(not default.is_self() and default.is_interpolation() for default in defaults_list)
    return _interpolation_map(overrides, defaults_list, self_added) if read else OmegaConf.create()


hydra_defaults._create_interpolation_map = _map_if_read
