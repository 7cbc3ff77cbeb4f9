"""Ratings out of fold: each nodule is rated, and calibrated, by what was learnt from other patients alone."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from segpipe.evaluation.rating_figures import RatedNodules, rating_figures
from segpipe.export.rating_folder import build_rating_network
from segpipe.networks.rating_network import RatingNetwork
from segpipe.training.ratings.calibration import calibrate, fit_calibration
from segpipe.training.ratings.fitting import fit_ratings, rate
from segpipe.training.ratings.samples import MISSING, RatedSamples
from segpipe.training.ratings.settings import RatingSettings

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class RatingStudy:
    """All that networks of one kind are trained and evaluated with.

    Args:
        samples: The nodules.
        folds: The fold of each, by patient.
        settings: How ratings are learnt.
        measurements: Names of the measurements.
        parts: The sections `optimizer` and `scheduler` of the configuration.
        seed: Of weights and batches.
    """

    samples: RatedSamples
    folds: NDArray[np.int64]
    settings: RatingSettings
    measurements: tuple[str, ...]
    parts: Mapping[str, Mapping[str, Any]]
    seed: int

    def without_crop(self) -> "RatingStudy":
        """The same for networks that see measurements alone; their crops are a voxel, which costs no time."""
        layers = self.settings.layers.model_copy(update={"channels": []})
        samples = replace(self.samples, crops_n2xyz=torch.zeros(len(self.folds), 2, 1, 1, 1))
        return replace(self, samples=samples, settings=replace(self.settings, layers=layers))

    def fit(self, chosen: NDArray[np.bool_]) -> RatingNetwork:
        """A network that has learnt from the chosen nodules."""
        torch.manual_seed(self.seed)
        network = build_rating_network(self.settings.scales, self.measurements, self.settings.layers)
        samples = self.samples.select(chosen)
        return fit_ratings(network, samples, settings=self.settings, parts=self.parts, seed=self.seed)

    def rate_out_of_fold(self) -> NDArray[np.float64]:
        """The probability of each grade of each nodule, (N, ratings, grades), before any calibration."""
        grades = max(len(scale.grades) for scale in self.settings.scales)
        rated = np.zeros((len(self.folds), len(self.settings.scales), grades))
        for fold in np.unique(self.folds):
            held_out = self.folds == fold
            network = self.fit(~held_out)
            rated[held_out] = rate(network, self.samples.select(held_out)).numpy()
            log.info("fold %d: %d nodules rated by a network that has seen %d", fold, held_out.sum(), (~held_out).sum())
        return rated


@dataclass(frozen=True, eq=False)
class RatedStudy:
    """What came of a study.

    Args:
        study: The study.
        rated: The probability of each grade of each nodule, out of fold, (N, ratings, grades).
        calibrated: For each rating the probabilities of its grades, calibrated.
        figures: Name of a rating → `rating_figures` of the nodules that have it.
    """

    study: RatingStudy
    rated: NDArray[np.float64]
    calibrated: list[NDArray[np.float64]]
    figures: Mapping[str, Any]

    @classmethod
    def of(cls, study: RatingStudy) -> "RatedStudy":
        """Rates all nodules out of fold."""
        rated = study.rate_out_of_fold()
        calibrated = calibrate_out_of_fold(study, rated)
        return cls(study, rated, calibrated, _figures(study, calibrated))

    @property
    def log_loss(self) -> float:
        """Of all ratings together."""
        return float(sum(figures["log_loss"]["mean"] for figures in self.figures.values()))


def calibrate_out_of_fold(study: RatingStudy, rated: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """For each rating the probabilities of its grades; each fold is calibrated on the others."""
    calibrated = []
    for number, scale in enumerate(study.settings.scales):
        own = rated[:, number, : len(scale.grades)]
        result = np.zeros_like(own)
        for fold in np.unique(study.folds):
            here = study.folds == fold
            result[here] = calibrate(own[here], _factor(study, own, number, ~here))
        calibrated.append(result)
    return calibrated


def fit_all(outcome: RatedStudy) -> RatingNetwork:
    """The network that has learnt from all nodules, with the calibration of those rated out of fold."""
    study, rated = outcome.study, outcome.rated
    everyone = np.ones(len(study.folds), dtype=bool)
    network = study.fit(everyone)
    for number, scale in enumerate(study.settings.scales):
        network.calibration[number] = _factor(study, rated[:, number, : len(scale.grades)], number, everyone)
    return network


def _figures(study: RatingStudy, calibrated: list[NDArray[np.float64]]) -> dict[str, Any]:
    figures = {}
    for number, scale in enumerate(study.settings.scales):
        levels = study.samples.levels_nr[:, number].numpy()
        known = levels != MISSING
        patients = [patient for patient, has in zip(study.samples.patients, known, strict=True) if has]
        figures[scale.name] = rating_figures(RatedNodules(levels[known], calibrated[number][known], patients))
    return figures


def _factor(study: RatingStudy, own: NDArray[np.float64], number: int, chosen: NDArray[np.bool_]) -> float:
    levels = study.samples.levels_nr[:, number].numpy()
    used = chosen & (levels != MISSING)
    return fit_calibration(own[used], levels[used])
