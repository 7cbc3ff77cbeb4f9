"""The candidates of a trained network as samples: what the evaluation takes for one, and what it calls a lesion."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from operator import attrgetter

import numpy as np
import torch
from numpy.typing import NDArray

from segpipe.case import Case
from segpipe.datasets.loading import load_lesions
from segpipe.datasets.manifest import Entry
from segpipe.errors import SegpipeError, explain
from segpipe.evaluation.detection.detections import find_and_match
from segpipe.evaluation.results import CaseResult, Detection, ReferenceLesion
from segpipe.inference.case_evaluator import CaseEvaluator
from segpipe.inference.predictor import predict_case
from segpipe.inference.second_stage import cut_candidates
from segpipe.preprocessing.candidate_crop import CandidateCrop
from segpipe.system.processes.parallel_map import parallel_map
from segpipe.system.processes.ranks import Ranks

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class CaseCandidates:
    """The most confident candidates of a class in a case.

    Args:
        result: The case's lesions and, as its detections, these candidates.
        crops_n2xyz: What is seen of each, float16.
    """

    result: CaseResult
    crops_n2xyz: torch.Tensor

    @property
    def detections(self) -> Sequence[Detection]:
        """The candidates."""
        return self.result.detections or ()

    def rated(self, confidence: Sequence[float]) -> CaseResult:
        """The case with other confidences of its candidates."""
        pairs = zip(self.detections, confidence, strict=True)
        return replace(self.result, detections=tuple(replace(one, probability=own) for one, own in pairs))


@dataclass(frozen=True, eq=False)
class Samples:
    """Candidates of several cases.

    Args:
        crops_n2xyz: What is seen of each, float16.
        peaks_n: The largest probability of each.
        lesion_n: Whether the evaluation takes it for a lesion, by overlap or by centre.
    """

    crops_n2xyz: torch.Tensor
    peaks_n: torch.Tensor
    lesion_n: torch.Tensor

    @classmethod
    def of(cls, cases: Sequence[CaseCandidates]) -> "Samples":
        """All candidates of cases, in their order."""
        detections = [one for case in cases for one in case.detections]
        return cls(
            torch.cat([case.crops_n2xyz for case in cases]),
            torch.tensor([one.probability for one in detections]),
            torch.tensor([one.matched is not None or bool(one.hits) for one in detections], dtype=torch.bool),
        )


@dataclass(frozen=True)
class CandidateReader:
    """Finds the candidates of a case.

    Args:
        evaluator: What predicts it.
        crop: What is seen of each candidate.
        most: How many are taken at most.
    """

    evaluator: CaseEvaluator
    crop: CandidateCrop
    most: int

    def __call__(self, entry: Entry) -> list[CaseCandidates]:
        """The candidates of each class.

        Raises:
            SegpipeError: when the case cannot be read or predicted.
        """
        own, labels = self.evaluator, self.evaluator.recipe.label_map
        case = load_lesions(entry, own.labels, labels)
        assert case.mask is not None, "cases that are trained on have masks"
        options = replace(own.options, measure=False)
        found = predict_case(case, own.recipe, own.engine, options, divisor=own.divisor).probabilities
        counted = case.mask != labels.ignore if labels.ignore is not None else True
        volumes = [np.asarray(volume * counted, dtype=np.float32) for volume in found]
        masks = [labels.class_mask(case.mask, number) for number in range(len(volumes))]
        return [self._of_class(entry, case, volume, mask) for volume, mask in zip(volumes, masks, strict=True)]

    def _of_class(
        self, entry: Entry, case: Case, volume: NDArray[np.float32], mask: NDArray[np.bool_]
    ) -> CaseCandidates:
        candidates, detections, reference = find_and_match(volume, mask, case.grid)
        cut = cut_candidates(case, volume, candidates, self.crop)
        seen = [torch.from_numpy(crop).half() for crop in islice(cut, self.most)]
        lesions = tuple(
            ReferenceLesion(one.number, one.volume_mm3, one.longest_diameter_mm, one.centre_mm) for one in reference
        )
        result = CaseResult(entry.id, entry.patient, "no", {}, 0.0, 0.0, lesions, detections=detections[: self.most])
        return CaseCandidates(result, torch.stack(seen) if seen else torch.zeros(0, 2, *self.crop.sides).half())


def read_candidates(
    reader: CandidateReader, entries: Sequence[Entry], ranks: Ranks, *, title: str | None
) -> list[CaseCandidates]:
    """The candidates of cases, which processes that train together share out; a bad case is named and left out.

    Args:
        reader: Finds those of a case.
        entries: The cases.
        ranks: The processes.
        title: What the progress is called; None shows none.
    """
    own = ranks.own(entries)
    outcomes = parallel_map(reader, list(own.values()), name=attrgetter("id"), title=title, workers=0)
    places = list(own)
    return list(_readable(ranks.gather({places[index]: outcome for index, outcome in outcomes}), ranks))


def _readable(outcomes: Sequence[list[CaseCandidates] | SegpipeError], ranks: Ranks) -> Iterator[CaseCandidates]:
    for outcome in outcomes:
        if not isinstance(outcome, SegpipeError):
            yield from outcome
        elif ranks.main:
            log.error("%s", explain(outcome))
