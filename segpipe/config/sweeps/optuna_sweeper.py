"""Hydra's sweeper for a search: asks Optuna for trials, sends them to the launcher, and goes on after a kill."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf
from optuna.trial import Trial, TrialState

from segpipe.config.sweeps.best_experiment import experiment_of
from segpipe.config.sweeps.job_codes import JobEnd, note_job
from segpipe.config.sweeps.search_settings import SearchSettings
from segpipe.config.sweeps.space import Distribution, draw, split_words
from segpipe.config.sweeps.trials import begin_study, fail
from segpipe.errors import SegpipeError, explain

if TYPE_CHECKING:
    from optuna.study import Study

log = logging.getLogger(__name__)
_ENOUGH = 3
"""Trials that fail before a search in which all do is ended."""


class OptunaSweeper(Sweeper):
    """Searches a space. A trial is a job of the sweep with the same number; what came of it, the job itself notes.

    Args:
        settings: See `SearchSettings`.
    """

    hydra_context: HydraContext
    launcher: Launcher
    config: DictConfig

    def __init__(self, **settings: Any) -> None:
        self.settings = SearchSettings(**settings)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """See Hydra."""
        self.hydra_context, self.config = hydra_context, config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )
        self.folder = Path(config.hydra.sweep.dir)

    def sweep(self, arguments: list[str]) -> list[Sequence[JobReturn]]:
        """Runs the trials that were cut off, then new ones.

        Raises:
            ConfigError: when there is nothing to choose, or the folder holds another search.
        """
        if self.settings.parallel > 1 and isinstance(self.launcher, BasicLauncher):
            log.warning(
                "hydra.sweeper.parallel=%d: Hydra's own launcher runs these trials one after another, and each is "
                "chosen without those before it; hydra/launcher=slurm or joblib runs them at once",
                self.settings.parallel,
            )
        params = [f"{key}={value}" for key, value in self.settings.params.items()]
        space, words = split_words([*params, *arguments], self.hydra_context.config_loader)
        self.folder.mkdir(parents=True, exist_ok=True)
        study = begin_study(self.folder, self.settings, {key: str(among) for key, among in space.items()})
        OmegaConf.save(self.config, self.folder / "multirun.yaml")
        done = [self._launch(study, numbers, space, words) for numbers in _neighbours(_running(study))]
        while (count := len(study.trials)) < self.settings.trials and not _all_fail(study):
            numbers = range(count, min(count + self.settings.parallel, self.settings.trials))
            done.append(self._launch(study, numbers, space, words))
        self._describe(study)
        return done

    def _launch(
        self, study: "Study", numbers: Sequence[int], space: dict[str, Distribution], words: list[str]
    ) -> Sequence[JobReturn]:
        """Runs trials whose numbers follow each other; those that cannot be composed have failed."""
        jobs = {number: self._choose(study, number, space, words) for number in numbers}
        sound = [number for number in numbers if self._is_sound(study, number, jobs[number])]
        done: list[JobReturn] = []
        for group in _neighbours(sound):
            done += self.launcher.launch([jobs[number] for number in group], initial_job_idx=group[0])
        return done

    def _choose(self, study: "Study", number: int, space: dict[str, Distribution], words: Sequence[str]) -> list[str]:
        """The words of a trial, by a generator of its own, so that a search that goes on chooses what it would have.

        What the trial is as an experiment is kept with it.
        """
        seed = int(np.random.SeedSequence([self.settings.seed, number]).generate_state(1)[0])
        study.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=self.settings.startup)
        known = study.get_trials(deepcopy=False)
        trial = Trial(study, known[number]._trial_id) if number < len(known) else study.ask()
        job = [*words, *draw(trial, space)]
        trial.set_user_attr("experiment", experiment_of(job, self.hydra_context.config_loader))
        return job

    def _is_sound(self, study: "Study", number: int, job: list[str]) -> bool:
        """Whether a trial's words compose."""
        try:
            self.hydra_context.config_loader.load_sweep_config(self.config, job)
        except SegpipeError as error:
            log.error("job %d: %s", number, explain(error))
            note_job(self.folder, JobEnd(number, self.folder / str(number), error.exit_code))
            fail(study, number)
            return False
        return True

    def _describe(self, study: "Study") -> None:
        """Says which trial is the best, and how it is trained."""
        if any(trial.state is TrialState.COMPLETE for trial in study.trials):
            best, command = study.best_trial, f"python -m segpipe --config-dir {self.folder} +experiment=best"
            log.info("best: trial %d, %s %.4f\n  %s", best.number, self.settings.objective, best.value, command)


def _running(study: "Study") -> list[int]:
    return [trial.number for trial in study.get_trials(deepcopy=False) if not trial.state.is_finished()]


def _all_fail(study: "Study") -> bool:
    states = [trial.state for trial in study.get_trials(deepcopy=False)]
    doomed = len(states) >= _ENOUGH and set(states) == {TrialState.FAIL}
    if doomed:
        log.error("all %d trials have failed, and no more are begun", len(states))
    return doomed


def _neighbours(numbers: Sequence[int]) -> Iterator[list[int]]:
    """Splits ascending numbers into those that follow each other, as a launcher takes them.

    >>> list(_neighbours([1, 2, 5]))
    [[1, 2], [5]]
    """
    breaks = [place for place in range(1, len(numbers)) if numbers[place] != numbers[place - 1] + 1]
    for begin, end in zip([0, *breaks], [*breaks, len(numbers)], strict=True):
        if begin < end:
            yield list(numbers[begin:end])
