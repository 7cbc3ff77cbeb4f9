"""The second stage of a detector: every candidate is looked at again and gets a confidence of its own.

The mask stays what the segmentation network decides; which of its lesions are findings, and in which order candidates
count, follows the new confidence.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray

from segpipe.case import Case
from segpipe.evaluation.detection.candidates import LEAST_CONFIDENCE, Candidates, find_candidates
from segpipe.geometry import to_world
from segpipe.preprocessing.candidate_crop import CandidateCrop, cut_candidate
from segpipe.system.machine.turns import take_turn

Classifier = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Crops (B, 2, x, y, z) and peaks (B,) → the probability that each is a lesion (B,); see `CandidateNetwork`."""
_BATCH = 64
_LEAST = 1.001 * LEAST_CONFIDENCE
"""A candidate stays one, however unlikely: the FROC goes on to the last of them."""


@dataclass(frozen=True, eq=False)
class SecondStage:
    """What looks at candidates again.

    Args:
        classify: Says how likely each is a lesion.
        crop: What it sees of a scan.
    """

    classify: Classifier
    crop: CandidateCrop

    def revise(self, case: Case, probability: NDArray[np.float32]) -> None:
        """Scales the probability of each candidate's voxels, in place, so that its peak is its new confidence.

        What belongs to no candidate becomes 0. So the candidates of the result are those of before, in another order,
        and the mean over a lesion of the mask is a confidence, too.

        Args:
            case: The scan.
            probability: Of a class in each of its voxels.
        """
        candidates = find_candidates(probability)
        factor = self._rate(case, probability, candidates) / candidates.confidence
        places = tuple(candidates.voxels.T)
        scaled = probability[places] * factor[candidates.owner]
        probability.fill(0)
        probability[places] = scaled

    @torch.inference_mode()
    def _rate(self, case: Case, probability: NDArray[np.float32], candidates: Candidates) -> NDArray[np.float64]:
        peaks = torch.from_numpy(candidates.confidence).float()
        rated = [np.zeros(0)]
        crops = cut_candidates(case, probability, candidates, self.crop)
        while batch := list(islice(crops, _BATCH)):
            done = sum(map(len, rated))
            with take_turn(torch.get_num_threads()):
                found = self.classify(torch.from_numpy(np.stack(batch)), peaks[done : done + len(batch)])
            rated.append(found.double().numpy())
        return _LEAST + (1 - _LEAST) * np.concatenate(rated)


def cut_candidates(
    case: Case, probability: NDArray[np.float32], candidates: Candidates, crop: CandidateCrop
) -> Iterator[NDArray[np.float32]]:
    """The crop around each candidate, (2, x, y, z); see `cut_candidate`."""
    for centre in to_world(case.grid.affine, candidates.centres):
        x, y, z = (float(axis) for axis in centre)
        yield cut_candidate(case, probability, (x, y, z), crop)
