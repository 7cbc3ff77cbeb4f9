"""Whether a configuration sends its jobs to Slurm, and what that needs."""

from hydra.core.plugins import Plugins
from omegaconf import DictConfig, OmegaConf

from segpipe.errors import ConfigError

_PLUG_IN = "hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher"


def prepare_slurm(config: DictConfig) -> None:
    """Where a composed configuration chooses Hydra's launcher for Slurm, puts the one of this room in its place.

    Hydra takes launchers of `hydra_plugins` alone.

    Raises:
        ConfigError: when the plug-in is not installed.
    """
    if OmegaConf.select(config, "hydra.launcher._target_") != _PLUG_IN:
        return
    try:
        from segpipe.config.sweeps.slurm_launcher import SlurmLauncher
    except ModuleNotFoundError as error:
        raise ConfigError(
            "hydra/launcher=slurm needs Hydra's plug-in for submitit",
            facts={"found": error},
            hint="pip install 'segpipe[slurm]', or pip install hydra-submitit-launcher",
        ) from error
    Plugins.instance().class_name_to_class[_PLUG_IN] = SlurmLauncher
