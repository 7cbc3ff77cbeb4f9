"""How threads of a pool wait for each other, set before PyTorch loads, since it is read but once."""

import os
from collections.abc import MutableMapping

from segpipe.system.machine.cores import affine_cores, available_cores

_SPINS = "20000"
"""GNU OpenMP's turns of a loop, about 0.4 ms: longer than between two layers, far shorter than its own 5 ms."""
_BLOCK_MS = "1"
"""The same for the OpenMP of LLVM and Intel, which by itself spins for 200 ms."""


ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
"""Lets libraries that load later compute in one thread; PyTorch asks MKL first, and MKL its own variable."""


def settle_threads(environment: MutableMapping[str, str] = os.environ) -> None:
    """Lets idle threads sleep soon, so that another process can have their core; what the user has set stays.

    A pool has a thread for each core of the affinity by itself, and gets fewer where a container grants fewer. None of
    this changes a number that is computed, but for the number of threads.
    """
    cores = available_cores()
    if cores < affine_cores():
        environment.setdefault("OMP_NUM_THREADS", str(cores))
    if "OMP_WAIT_POLICY" not in environment:
        environment.setdefault("GOMP_SPINCOUNT", _SPINS)
        environment.setdefault("KMP_BLOCKTIME", _BLOCK_MS)
