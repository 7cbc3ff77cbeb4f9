"""Nothing about tracking may ever end a training or change its exit code."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from segpipe.system.credentials import without_secrets

log = logging.getLogger(__name__)


@contextmanager
def harmless(step: str) -> Iterator[None]:
    """What goes wrong in the block is a warning and no more; an interrupt goes through.

    Args:
        step: What the warning calls the block, e.g. `logging the evaluation`.
    """
    try:
        yield
    except Exception as error:
        text = without_secrets(f"{type(error).__name__}: {error}")
        log.warning("MLflow misses something, the run goes on (%s: %s)", step, text.splitlines()[0][:300])
