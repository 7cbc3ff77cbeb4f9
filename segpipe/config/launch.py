"""Hands a checked command line to Hydra, which makes the run folder and the log, and to a job."""

import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from segpipe.config.folder import conf_folder
from segpipe.errors import SegpipeError, explain

Job = Callable[[DictConfig, Path, Path | None], int]
log = logging.getLogger(__name__)


def launch(argv: Sequence[str], job: Job) -> int:
    """Runs `job` once, or once for each choice of a sweep; returns the worst exit code.

    Args:
        argv: Overrides and Hydra's flags.
        job: Takes the composed configuration, the run folder and, in a sweep, the sweep's folder.
    """
    codes: list[int] = [0]

    def entry(config: DictConfig) -> int:
        hydra_config = HydraConfig.get()
        folder = Path(hydra_config.runtime.output_dir)
        sweep = Path(hydra_config.sweep.dir) if hydra_config.mode is RunMode.MULTIRUN else None
        try:
            codes.append(job(config, folder, sweep))
        except SegpipeError as error:
            log.error("%s", explain(error))
            codes.append(error.exit_code)
        return codes[-1]

    sys.argv = [sys.argv[0], *argv]
    hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name="config")(entry)()
    return max(codes)
