"""What must hold where trainings are compared by their validation: cases to choose by, a last figure, one process."""

from math import gcd

from segpipe.config.schema import Settings
from segpipe.errors import ConfigError, DatasetError
from segpipe.system.processes.launched import launch
from segpipe.training.data.run_data import split_data
from segpipe.training.fitting import recipe_of
from segpipe.training.hardware import compute_of


def check_alone(settings: Settings, *, what: str) -> None:
    """Whether a training has one process and one device for itself.

    Args:
        settings: Of the training.
        what: Who trains what, e.g. `a study trains each row`.

    Raises:
        ConfigError: when a launcher has started several processes.
    """
    launched = launch()
    if launched and compute_of(settings.trainer).processes > 1:
        raise ConfigError(
            f"{what} in one process, on one device",
            facts={f"{launched.by} started": f"{launched.processes * launched.nodes} processes"},
            hint=f"start it without {launched.by}",
        )


def check_validation(settings: Settings, *, what: str) -> None:
    """Whether there is a validation after the last step, of cases that are left out for it.

    Args:
        settings: Of the training.
        what: Who chooses what, e.g. `a study chooses rates`.

    Raises:
        ConfigError: when the last step is not followed by a validation.
        DatasetError: when no case is left out to choose by.
    """
    steps, every = settings.trainer.max_steps, settings.training.validate_every
    if steps % every:
        raise ConfigError(
            f"{what} by the validation after the last step, and there is none",
            facts={"trainer.max_steps": steps, "training.validate_every": every},
            hint=f"training.validate_every={gcd(steps, every)}, or another divisor of trainer.max_steps",
        )
    one = settings.data.fold is None
    if not one or all(entry.split != "val" for entry in split_data(settings, recipe_of(settings)).entries):
        raise DatasetError(
            f"{what} by validation cases, and there are none",
            facts={"data.fold": settings.data.fold, "data.fractions": list(settings.data.fractions)},
            hint="data.fold=null 'data.fractions=[0.6,0.2,0.2]'",
        )
