"""Hands a checked command line to Hydra, which makes the run folder and the log, and to a job."""

import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from segpipe.config.folder import conf_folder
from segpipe.errors import SegpipeError, explain

Job = Callable[[DictConfig, Path], int]
log = logging.getLogger(__name__)


def launch(argv: Sequence[str], job: Job) -> int:
    """Runs `job` once, or once for each choice of a sweep; returns the worst exit code.

    Args:
        argv: Overrides and Hydra's flags.
        job: Takes the composed configuration and the run folder.
    """
    codes: list[int] = [0]

    def entry(config: DictConfig) -> int:
        folder = Path(HydraConfig.get().runtime.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            codes.append(job(config, folder))
        except SegpipeError as error:
            log.error("%s", explain(error))
            codes.append(error.exit_code)
        return codes[-1]

    sys.argv = [sys.argv[0], *argv]
    hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name="config")(entry)()
    return max(codes)


def write_config(config: DictConfig, folder: Path) -> Path:
    """Writes the resolved configuration of a run as `config.yaml`."""
    file = folder / "config.yaml"
    file.write_text(OmegaConf.to_yaml(config, resolve=True))
    return file
