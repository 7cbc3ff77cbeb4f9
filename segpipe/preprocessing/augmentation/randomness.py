"""Where the random numbers of a patch come from: one generator, whoever draws from it."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def state_of(rng: np.random.Generator) -> np.random.RandomState:
    """The generator as MONAI's transforms want it; both draw from one stream, so that nothing is drawn twice."""
    return np.random.RandomState(rng.bit_generator)


def generator_of(state: np.random.RandomState) -> np.random.Generator:
    """The way back: the same stream with numpy's newer draws."""
    return np.random.Generator(state._bit_generator)


@contextmanager
def seeded_globals(rng: np.random.Generator) -> Iterator[None]:
    """Seeds the random numbers that belong to nobody, for libraries that draw from them, and gives them back after."""
    python, numpy, seed = random.getstate(), np.random.get_state(), int(rng.integers(2**32))
    with torch.random.fork_rng(devices=[]):
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
