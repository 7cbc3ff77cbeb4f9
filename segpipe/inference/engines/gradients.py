"""Whether the gradients of a network can be had, which explanations and attacks need."""

from segpipe.errors import ConfigError
from segpipe.inference.engines.engine import Engine, TorchEngine


def require_gradients(engine: Engine, wanted_by: str) -> TorchEngine:
    """The engine, when its network has gradients.

    Args:
        engine: Runs a network.
        wanted_by: The flag that needs them.

    Raises:
        ConfigError: for a program that cannot be asked for its layers and gradients, or without captum.
    """
    if not isinstance(engine, TorchEngine):
        raise ConfigError(
            f"{wanted_by} needs a network that PyTorch runs",
            facts={"found": getattr(engine, "name", type(engine).__name__)},
            hint="--backend torch; a network from another package is a program, whose layers cannot be asked",
        )
    require_captum(wanted_by)
    return engine


def require_captum(wanted_by: str) -> None:
    """Refuses where captum is not installed.

    Raises:
        ConfigError: with how to install it.
    """
    try:
        import captum  # noqa: F401
    except ImportError as error:
        raise ConfigError(f"{wanted_by} needs captum", hint="pip install 'segpipe[explain]'") from error
