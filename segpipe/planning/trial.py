"""A few steps and one case of a run as it is configured, on this machine, and what they take."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import TypeVar

from segpipe.config.schema import Settings
from segpipe.datasets.manifest import Manifest, Role
from segpipe.errors import TrainingError
from segpipe.planning.dry_step import ran_out_of_memory, taken
from segpipe.preprocessing.recipe import Recipe
from segpipe.system.files.walking import files_below
from segpipe.system.processes.launched import this_rank
from segpipe.system.processes.ranks import processes_part
from segpipe.training.data.patches import PatchDataset
from segpipe.training.data.run_data import RunData, prepare_cases
from segpipe.training.detector.fitting import try_step
from segpipe.training.evaluate_and_export import build_evaluator
from segpipe.training.fitting import fit, recipe_of
from segpipe.training.hardware import compute_of
from segpipe.training.started_processes import started_processes

STEPS = 6
_PATCHES = 4
_FEWEST_CASES = 2
Result = TypeVar("Result")


@dataclass(frozen=True)
class Trial:
    """What was measured.

    Args:
        step_s: Median seconds of a step, the first left out; what the loaders have ready is not waited for.
        patch_s: Median seconds in which one process makes a patch.
        validation_s: Seconds of a validation on patches.
        case_s: Seconds in which a case is read, predicted and evaluated.
        peak_bytes: The most memory that was taken: of the GPU where there is one, else of this process.
        checkpoint_bytes: Of the largest checkpoint.
        weights_bytes: Of the network.
        mask_bytes: Of the predicted mask.
        prepared_bytes: Mean of the prepared cases.
        stage_step_s: Seconds of a step of the second stage; 0 without one.
    """

    step_s: float
    patch_s: float
    validation_s: float
    case_s: float
    peak_bytes: int
    checkpoint_bytes: int
    weights_bytes: int
    mask_bytes: int
    prepared_bytes: float
    stage_step_s: float = 0.0


def try_run(settings: Settings, manifest: Manifest, folder: Path) -> Trial | None:
    """Prepares a few cases, trains a few steps, validates, and evaluates one held-out case.

    Args:
        settings: The checked configuration.
        manifest: All cases, each with its role.
        folder: Where a checkpoint and a mask may be written; somebody else removes them.

    Returns:
        What it took, or None in the processes that only helped to train.

    Raises:
        SegpipeError: for whatever would end the run as well.
    """
    short, recipe = shortened(settings), recipe_of(settings)
    data = _prepare_few(manifest, short, recipe)
    patches, clock = data.patches(short), _Clock()
    provenance = {"digest": recipe.digest, "network": settings.network, "data_hash": data.hash}
    train = partial(fit, short, patches, folder, provenance=provenance, log_metrics=clock.log_metrics)
    with processes_part(), started_processes(compute_of(settings.trainer), folder):
        fitted = _within_memory(settings, train)
    if this_rank():
        return None
    evaluator = replace(build_evaluator(settings, data, fitted.network), masks=folder)
    held_out = data.entries("test")[0]
    case_s = _seconds(partial(_within_memory, settings, partial(evaluator, held_out)))
    return Trial(
        step_s=clock.step_s,
        patch_s=_patch_seconds(patches.train),
        validation_s=clock.validation_s,
        case_s=case_s,
        peak_bytes=taken(compute_of(settings.trainer).device),
        checkpoint_bytes=max(_size(file) for file in (folder / "checkpoints").iterdir()),
        weights_bytes=sum(value.nbytes for value in fitted.network.state_dict().values()),
        mask_bytes=_size(folder / f"{held_out.id}.nii.gz"),
        prepared_bytes=sum(_size(case.folder) for case in data.cached.values()) / len(data.cached),
        stage_step_s=_seconds(partial(try_step, settings.detector, recipe)) if settings.detector else 0.0,
    )


def shortened(settings: Settings) -> Settings:
    """The same run with a few steps, a validation after the last one, and a point of its curves at each."""
    trainer = settings.trainer.model_copy(update={"max_steps": STEPS, "progress": False})
    changes = {"log_every": 1, "validate_every": STEPS, "checkpoint_every": STEPS, "early_stopping": None}
    training = settings.training.model_copy(update=changes)
    evaluation = settings.evaluation.model_copy(update={"weights": "last"})
    changed = {"trainer": trainer, "training": training, "evaluation": evaluation, "resume": False}
    return settings.model_copy(update=changed)


class _Clock:
    """Reads from the points of the curves how long steps and the validation took."""

    def __init__(self) -> None:
        self._steps: list[float] = []
        self._validated = 0.0

    def log_metrics(self, values: Mapping[str, float], step: int) -> None:
        """Takes a point when it is logged."""
        if "train/samples_per_second" in values:
            self._steps.append(time.perf_counter())
        elif any(name.startswith("val/") for name in values):
            self._validated = time.perf_counter()

    @property
    def step_s(self) -> float:
        return median(later - earlier for earlier, later in pairwise(self._steps))

    @property
    def validation_s(self) -> float:
        return max(self._validated - self._steps[-1], 0.0)


def _prepare_few(manifest: Manifest, settings: Settings, recipe: Recipe) -> RunData:
    """Prepares a few cases of each role: of those that patches are read from so many that some have lesions."""
    count = _FEWEST_CASES
    while True:
        data = prepare_cases(_first(manifest, count), settings, recipe)
        lesions = [
            sum(
                len(data.cached[entry.id].lesion_diameters_mm)
                for entry in data.entries(role)
                if entry.id in data.cached
            )
            for role in ("train", "test" if data.monitors_test else "val")
        ]
        if all(lesions) or len(data.manifest.entries) == len(manifest.entries):
            return data
        count *= 2


def _first(manifest: Manifest, count: int) -> Manifest:
    roles: tuple[Role, ...] = ("train", "val", "test")
    few = [[entry for entry in manifest.entries if entry.split == role][:count] for role in roles]
    return manifest.with_entries([entry for of_role in few for entry in of_role])


def _within_memory(settings: Settings, work: Callable[[], Result]) -> Result:
    """Does the work.

    Raises:
        TrainingError: when it ran out of memory.
    """
    try:
        return work()
    except RuntimeError as error:
        if not ran_out_of_memory(str(error)):
            raise
        patch, batch = "×".join(map(str, recipe_of(settings).patch)), settings.training.batch_size
        raise TrainingError(
            "the memory does not suffice",
            facts={"device": compute_of(settings.trainer).device.type, "step": f"{batch} patches of {patch} voxels"},
            hint="training.batch_size=1, a smaller recipe.patch, or what ingest --plan proposes for this memory",
        ) from error


def _patch_seconds(patches: PatchDataset) -> float:
    return median(_seconds(partial(patches.__getitem__, index)) for index in range(_PATCHES))


def _seconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def _size(path: Path) -> int:
    files = [path] if path.is_file() else files_below(path)
    return sum(file.stat().st_size for file in files)
