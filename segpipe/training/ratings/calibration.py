"""Calibrates predicted grades: one number per rating that stretches their odds, fitted on nodules held out."""

import numpy as np
from numpy.typing import NDArray

Probabilities = NDArray[np.float64]
BOUNDS = (0.2, 5.0)
_LEAST = 1e-6


def fit_calibration(probabilities_ng: Probabilities, levels_n: NDArray[np.int64]) -> float:
    """The stretch of the odds with the largest likelihood of the readers' grades.

    Args:
        probabilities_ng: Of each grade, by networks that have not seen these nodules.
        levels_n: The readers' grades, from 0.

    Source:
        Guo et al., ICML 2017, arXiv 1706.04599; the inverse of their temperature, here of cumulative odds.
    """
    from scipy.optimize import minimize_scalar

    rows = np.arange(len(levels_n))

    def loss(log_factor: float) -> float:
        own = calibrate(probabilities_ng, float(np.exp(log_factor)))[rows, levels_n]
        return float(-np.log(np.maximum(own, _LEAST)).mean())

    found = minimize_scalar(loss, bounds=tuple(np.log(BOUNDS)), method="bounded")
    return float(np.exp(found.x))


def calibrate(probabilities_ng: Probabilities, factor: float) -> Probabilities:
    """Multiplies the log odds of every "above grade k" by a factor.

    >>> calibrate(np.array([[0.5, 0.4, 0.1]]), 1.0).round(6).tolist()
    [[0.5, 0.4, 0.1]]
    """
    above = np.cumsum(probabilities_ng[:, ::-1], axis=1)[:, ::-1][:, 1:].clip(_LEAST, 1 - _LEAST)
    stretched = 1 / (1 + ((1 - above) / above) ** factor)
    edges = np.concatenate([np.ones((len(above), 1)), stretched, np.zeros((len(above), 1))], axis=1)
    return np.asarray(edges[:, :-1] - edges[:, 1:])
