"""From what a trial took to what the whole run takes: time, memory, and how fast patches must be made."""

from collections import Counter
from dataclasses import dataclass
from math import ceil

import torch

from segpipe.config.schema import Settings
from segpipe.datasets.manifest import Manifest, Role
from segpipe.planning.checklist import Item, describe_seconds, describe_size
from segpipe.planning.trial import Trial
from segpipe.system.machine.memory import available_memory
from segpipe.training.detector.settings import TwoStage
from segpipe.training.fitting import recipe_of
from segpipe.training.hard_negatives import rounds
from segpipe.training.hardware import compute_of

_FULL = 0.9
"""Share of the memory from which a longer run, which meets other cases, may not fit."""


@dataclass(frozen=True)
class Work:
    """How much of everything a training does.

    Args:
        steps: Optimizer steps.
        patches: Of one process in a step.
        validations: On patches.
        cases: That are predicted whole, to choose the operating point and to evaluate, for hard negatives and for a
            second stage.
        folds: Such trainings.
        side_by_side: How many of them at a time.
        processes: Of each, which share out its cases.
        stage_steps: Of a second stage, which one process takes.
    """

    steps: int
    patches: int
    validations: int
    cases: int
    folds: int = 1
    side_by_side: int = 1
    processes: int = 1
    stage_steps: int = 0


def work_of(settings: Settings, manifest: Manifest) -> Work:
    """What a configuration asks for.

    Args:
        settings: The checked configuration.
        manifest: The cases, with the roles of one training.
    """
    steps, training = settings.trainer.max_steps, settings.training
    roles = Counter(entry.split for entry in manifest.entries)
    processes, crossed = compute_of(settings.trainer).processes, settings.data.fold == "all"
    detector: TwoStage | None = settings.detector
    return Work(
        steps=steps,
        patches=training.batch_size * training.accumulate,
        validations=steps // training.validate_every,
        cases=_predicted(settings, roles) + _learnt_from(settings, roles),
        folds=settings.data.folds if crossed else 1,
        side_by_side=processes if crossed else 1,
        processes=1 if crossed else processes,
        stage_steps=detector.steps if detector else 0,
    )


def _predicted(settings: Settings, roles: Counter[Role | None]) -> int:
    """Cases that are predicted to be evaluated, some of the training's own as well where membership is measured."""
    tunes = settings.evaluation.tune_operating_point or recipe_of(settings).scope == "voi"
    members: int = min(roles["train"], roles["test"]) if settings.evaluation.membership else 0
    return roles["test"] + (roles["val"] if tunes else 0) + members


def _learnt_from(settings: Settings, roles: Counter[Role | None]) -> int:
    """Cases that are predicted to learn from the candidates: by the training itself, and by a second stage."""
    each_round: int = min(roles["train"], settings.sampling.hard_negative_scans)
    mined = (len(rounds(settings)) - 1) * each_round
    return mined + (roles["train"] + roles["val"] if settings.detector else 0)


def time_items(trial: Trial, work: Work, *, workers: int) -> list[Item]:
    """Seconds of a step and of the run.

    Args:
        trial: What was measured.
        work: How much there is to do.
        workers: Processes that make patches for one that trains; 0 where it makes them itself.
    """
    loading_s = work.patches * trial.patch_s / workers if workers else 0.0
    step_s = max(trial.step_s, loading_s)
    waits = f"loading takes {loading_s / trial.step_s:.1f} times as long as the step: more trainer.workers if there are"
    cases_s = ceil(work.cases / work.processes) * trial.case_s
    stage_s = work.stage_steps * trial.stage_step_s
    once_s = work.steps * step_s + work.validations * trial.validation_s + cases_s + stage_s
    what = f"{work.steps} steps, {work.validations} validations, {work.cases} cases predicted and evaluated"
    what += f", {work.stage_steps} steps of a second stage" if work.stage_steps else ""
    times = f"{work.folds} folds, {work.side_by_side} at a time, of " if work.folds > 1 else ""
    run_s = ceil(work.folds / work.side_by_side) * once_s
    return [
        Item(
            "step",
            f"{describe_seconds(step_s)}; 1000 steps in {describe_seconds(1000 * step_s)}",
            warning=f"{waits} cores, or a lighter augmentation" if loading_s > trial.step_s else "",
        ),
        Item("validation", f"{describe_seconds(trial.validation_s)}; of a whole case {describe_seconds(trial.case_s)}"),
        Item("run", f"{describe_seconds(run_s)}: {times}{what}; preparing and exporting on top"),
    ]


def memory_item(settings: Settings, trial: Trial) -> Item:
    """The peak, next to what there is."""
    device = compute_of(settings.trainer).device
    on_gpu = device.type == "cuda"
    there = torch.cuda.get_device_properties(device).total_memory if on_gpu else available_memory()
    share = trial.peak_bytes / there
    return Item(
        "memory",
        f"{describe_size(trial.peak_bytes)} of {describe_size(there)}{' of the GPU' if on_gpu else ''}",
        warning=f"{share:.0%} are taken: other cases may need more; training.batch_size=" if share > _FULL else "",
    )
