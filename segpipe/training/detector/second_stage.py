"""From a trained segmentation network to the second stage behind it."""

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import torch

from segpipe.config.schema import Settings
from segpipe.errors import SegpipeError
from segpipe.export.second_stage import StageModel, StageSpec
from segpipe.inference.case_evaluator import CaseEvaluator
from segpipe.networks.candidate_network import CandidateEnsemble, CandidateNetwork
from segpipe.preprocessing.candidate_crop import CandidateCrop
from segpipe.system.case_errors import attempt
from segpipe.system.processes.ranks import Ranks
from segpipe.training.data.run_data import RunData
from segpipe.training.detector.choosing import Choice, choose
from segpipe.training.detector.fitting import fit_candidates
from segpipe.training.detector.samples import CandidateReader, CaseCandidates, Samples, read_candidates
from segpipe.training.detector.settings import TwoStage

log = logging.getLogger(__name__)
_OVERLAP = 0.25
"""Of the windows in training scans: a third of the passes that an overlap of a half takes."""


@dataclass(frozen=True, eq=False)
class FittedStage:
    """A second stage and where it comes from.

    Args:
        model: The second stage.
        about: Plain data for summary and model card.
    """

    model: StageModel
    about: Mapping[str, Any]


def fit_second_stage(
    settings: Settings, run_data: RunData, evaluator: CaseEvaluator, ranks: Ranks
) -> FittedStage | None:
    """Learns the second stage on training scans and chooses on validation scans; held-out scans decide nothing.

    Processes that train together share out the scans; the first one learns, and all of them get what it has learnt.

    Args:
        settings: The checked configuration.
        run_data: The cases by role.
        evaluator: What predicts a case by the segmentation network.
        ranks: The processes.

    Returns:
        The second stage; None when the configuration asks for one stage, or there is nothing to learn from.
    """
    wanted: TwoStage | None = settings.detector
    if wanted is None:
        return None
    reader = CandidateReader(evaluator, CandidateCrop.of(run_data.recipe, wanted.crop_mm), wanted.candidates_per_scan)
    sparser = replace(evaluator, options=replace(evaluator.options, overlap=min(_OVERLAP, evaluator.options.overlap)))
    readers = {"train": replace(reader, evaluator=sparser), "val": reader}
    title = "candidates" if settings.trainer.progress and ranks.main else None
    found: list[list[CaseCandidates]] = []
    for role, own in readers.items():
        entries = [entry for entry in run_data.manifest.entries if entry.split == role]
        log.info("second stage: finding the candidates of %d scans (%s)", len(entries), role)
        found.append(read_candidates(own, entries, ranks, title=title))
    return ranks.agree(partial(_fit_or_explain, wanted, *found, crop=reader.crop, seed=settings.seed))


def _fit_or_explain(
    wanted: TwoStage, learnt: list[CaseCandidates], watched: list[CaseCandidates], **how: Any
) -> FittedStage | None:
    """Whatever goes wrong in the first process is an error that the others, which wait for it, can learn."""
    outcome = attempt(partial(_fit, wanted, learnt, watched, **how))
    if isinstance(outcome, SegpipeError):
        raise outcome
    return outcome


def _fit(
    wanted: TwoStage, learnt: list[CaseCandidates], watched: list[CaseCandidates], *, crop: CandidateCrop, seed: int
) -> FittedStage | None:
    samples = Samples.of(learnt) if learnt else None
    lesions = int(samples.lesion_n.sum()) if samples else 0
    if samples is None or not 0 < lesions < len(samples.lesion_n):
        found = len(samples.lesion_n) if samples else 0
        log.warning(
            "second stage: left out, as it learns from two kinds: %d of %d candidates are lesions", lesions, found
        )
        return None
    log.info("second stage: learning from %d candidates, %d of them lesions", len(samples.lesion_n), lesions)
    torch.manual_seed(seed)
    network = CandidateNetwork(channels=wanted.layers.channels, dropout=wanted.layers.dropout)
    fit_candidates(network, samples, _both_kinds(watched), settings=wanted, seed=seed)
    choice = choose(network, watched)
    log.info("second stage: %s", _describe(choice))
    about = {"candidates": len(samples.lesion_n), "lesions": lesions, **_facts(choice)}
    model = StageModel(StageSpec(crop, wanted.layers), CandidateEnsemble([network]).eval())
    return FittedStage(model, about)


def _both_kinds(cases: list[CaseCandidates]) -> Samples | None:
    """The candidates of cases, if some are lesions and some are not."""
    samples = Samples.of(cases) if cases else None
    return samples if samples and 0 < int(samples.lesion_n.sum()) < len(samples.lesion_n) else None


def _facts(choice: Choice) -> dict[str, Any]:
    named = {"cpm": "validation_cpm", "former": "validation_cpm_of_one_stage"}
    return {named.get(name, name): value for name, value in asdict(choice).items() if value is not None}


def _describe(choice: Choice) -> str:
    share = f"{choice.share:.0%} of the confidence is the crop's, the rest the segmentation network's"
    if choice.cpm is None:
        return f"{share}; the validation scans have too few lesions to choose on"
    return f"{share}: CPM of the validation scans {choice.cpm:.3f}, {choice.former:.3f} with one stage"
