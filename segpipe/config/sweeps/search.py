"""Whether a configuration searches with Optuna, and what that needs."""

from hydra.core.plugins import Plugins
from omegaconf import DictConfig, OmegaConf
from pydantic import TypeAdapter, ValidationError

from segpipe.config.mistakes import raise_mistakes
from segpipe.config.sweeps.search_settings import SearchSettings
from segpipe.validation import mistakes_in

_PLUG_IN = "hydra_plugins.segpipe.OptunaSweeper"


def prepare_search(config: DictConfig) -> None:
    """Where a composed configuration chooses the sweeper of this room, makes it known to Hydra.

    Hydra takes sweepers of `hydra_plugins` alone.

    Raises:
        ConfigError: listing all mistakes in its section.
    """
    if OmegaConf.select(config, "hydra.sweeper._target_") != _PLUG_IN:
        return
    section = OmegaConf.to_container(config.hydra.sweeper, resolve=True)
    assert isinstance(section, dict)
    own = {str(key): value for key, value in section.items() if not str(key).startswith("_")}
    try:
        TypeAdapter(SearchSettings).validate_python(own)
    except ValidationError as error:
        raise_mistakes(mistakes_in(error, SearchSettings, "hydra.sweeper"))
    from segpipe.config.sweeps.optuna_sweeper import OptunaSweeper

    Plugins.instance().class_name_to_class[_PLUG_IN] = OptunaSweeper
