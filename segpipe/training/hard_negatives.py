"""Hard negatives: after each round of a training its network is asked where it sees lesions that are none."""

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from segpipe.case import Case
from segpipe.config.schema import Settings
from segpipe.errors import SegpipeError, explain
from segpipe.evaluation.detection.detections import find_and_match
from segpipe.inference.engines.engine import Engine, TorchEngine
from segpipe.inference.options import PredictOptions
from segpipe.inference.predictor import predict_case
from segpipe.networks import build_network, input_sizes
from segpipe.preprocessing.cache.cached_case import CachedCase
from segpipe.preprocessing.recipe import Recipe, Shape
from segpipe.system.case_errors import attempt
from segpipe.system.processes.ranks import Ranks
from segpipe.training.checkpoints.weights import load_weights
from segpipe.training.data.mined import Mined
from segpipe.training.hardware import compute_of

log = logging.getLogger(__name__)
MOST_PLACES = 8
"""Of a scan: its most confident mistakes; a FROC looks at no more."""
LEAST_CONFIDENCE = 0.1
"""What the network is less sure of is no mistake that it must unlearn."""
_OVERLAP = 0.0  # a mistake at a window's border is one, too, and overlap of a half takes eight times as long


def rounds(settings: Settings) -> list[int]:
    """The steps after which rounds end: every validation where hard negatives are wanted, else the last step alone."""
    last, every = settings.trainer.max_steps, settings.training.validate_every
    wanted = settings.sampling.hard_negatives > 0 and settings.recipe.scope == "scan"
    return [*(range(every, last, every) if wanted else ()), last]


def mine(settings: Settings, cases: Sequence[CachedCase], checkpoint: Path, *, step: int, ranks: Ranks) -> Mined:
    """Predicts some of the training scans and notes where candidates are no lesions.

    The scans are a function of seed and step; processes that train together share them out and find the same.

    Args:
        settings: The checked configuration.
        cases: The training cases.
        checkpoint: Holds the weights after the round.
        step: The step that was reached.
        ranks: The processes.
    """
    recipe: Recipe = settings.recipe
    network = build_network(settings.network, out_channels=recipe.label_map.channels)
    engine = TorchEngine(
        load_weights(network, checkpoint), recipe.label_map, device=compute_of(settings.trainer).device.type
    )
    divisor = input_sizes(settings.network, network, recipe.patch).divisor
    count = settings.sampling.hard_negative_scans
    chosen = np.random.default_rng([settings.seed, step]).permutation(len(cases))[:count]
    find = partial(find_mistakes, recipe=recipe, engine=engine, divisor=divisor)
    own = ranks.own([cases[number] for number in chosen])
    outcomes = ranks.gather({place: attempt(partial(find, case), case=case.id) for place, case in own.items()})
    for outcome in outcomes if ranks.main else ():
        if isinstance(outcome, SegpipeError):
            log.error("%s", explain(outcome))
    found = [mistake for outcome in outcomes if not isinstance(outcome, SegpipeError) for mistake in outcome]
    log.info("step %d: %d mistakes in %d training scans", step, len(found), len(chosen))
    return Mined(step, found)


def find_mistakes(case: CachedCase, *, recipe: Recipe, engine: Engine, divisor: Shape) -> list[tuple[str, Shape]]:
    """The most confident candidates of a case that the evaluation takes for no lesion, as places in it.

    Args:
        case: A prepared case.
        recipe: How it was prepared.
        engine: Runs the network.
        divisor: What its input shape must be a multiple of.
    """
    image_hu, mask = case.read_whole()
    scan, labels = Case(case.id, image_hu, case.grid), recipe.label_map
    options = PredictOptions(overlap=_OVERLAP, measure=False)
    found = predict_case(scan, recipe, engine, options, divisor=divisor).probabilities
    counted = mask != labels.ignore if labels.ignore is not None else True
    wrong: list[tuple[float, Shape]] = []
    for number, volume in enumerate(found):
        candidates, detections, _ = find_and_match(volume * counted, labels.class_mask(mask, number), case.grid)
        for centre, one in zip(candidates.centres, detections, strict=True):
            if one.matched is None and not one.hits and one.probability >= LEAST_CONFIDENCE:
                x, y, z = (round(axis) for axis in centre.tolist())
                wrong.append((one.probability, (x, y, z)))
    return [(case.id, voxel) for _, voxel in sorted(wrong, reverse=True)[:MOST_PLACES]]
