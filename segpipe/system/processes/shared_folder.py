"""Whether all processes of a run see the folder that the first one writes into."""

import socket
import time
from contextlib import nullcontext
from pathlib import Path
from tempfile import NamedTemporaryFile

from segpipe.errors import ConfigError
from segpipe.system.processes.ranks import Ranks

_SEEN_WITHIN_S = 10.0  # network file systems show what others have written some seconds later


def check_shared(folder: Path, ranks: Ranks) -> None:
    """Refuses processes that have other disks, before they read or write there what is not the same.

    Args:
        folder: As each process calls it.
        ranks: The processes, each of which calls this.

    Raises:
        ConfigError: in all of them when one does not see the folder of the first.
    """
    if ranks.count == 1:
        return
    with NamedTemporaryFile(dir=folder, prefix=".seen-") if ranks.main else nullcontext() as own:
        mark = ranks.gather({ranks.number: Path(own.name).name if own else ""})[0]
        place = f"{folder.absolute()} on {socket.gethostname()}"
        seen = ranks.gather({ranks.number: (place, _is_seen(folder / mark))})
    others = {f"process {number}": place for number, (place, is_seen) in enumerate(seen) if not is_seen}
    if others:
        raise ConfigError(
            "the processes of a run need one folder that all of them see",
            facts={"process 0": seen[0][0], **{number: f"another: {place}" for number, place in others.items()}},
            hint="hydra.run.dir=FOLDER on a disk that the machines share, or all processes on one machine",
        )


def _is_seen(file: Path) -> bool:
    deadline = time.monotonic() + _SEEN_WITHIN_S
    while not file.exists():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True
