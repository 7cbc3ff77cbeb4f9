"""The trials of a search, in a file of the sweep's folder: chosen by one process, and reported to by those that train.

The file is Optuna's journal, lines of JSON that several machines may add to.
"""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segpipe.errors import ConfigError

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.storages import JournalStorage
    from optuna.study import Study
    from optuna.trial import FrozenTrial

    from segpipe.config.sweeps.search_settings import SearchSettings

FILE = "trials.journal"
_NAME = "search"
_PRUNED = "given up at step"


def is_search(sweep: Path) -> bool:
    """Whether a sweep is a search, whose trials are chosen as it goes."""
    return (sweep / FILE).is_file()


def begin_study(sweep: Path, settings: "SearchSettings", space: Mapping[str, str]) -> "Study":
    """Optuna's study of a sweep, new or as far as it has come.

    Args:
        sweep: The folder of the search.
        settings: Its settings; how many trials there are and when they are given up may change.
        space: By key what it is chosen from, in words.

    Raises:
        ConfigError: when another space is searched there, or by another figure.
    """
    import optuna

    asked = {"hydra.sweeper.objective": settings.objective, "hydra.sweeper.direction": settings.direction, **space}
    begun = read_study(sweep).user_attrs.get("search", asked) if is_search(sweep) else asked
    differ = [key for key in {**begun, **asked} if begun.get(key) != asked.get(key)]
    if differ:
        raise ConfigError(
            "the folder holds another search",
            facts={"folder": sweep, **{key: f"{begun.get(key)}, now {asked.get(key)}" for key in differ}},
            hint="go on with the words that it began with, or give the new search a folder of its own",
        )
    study = optuna.create_study(
        storage=_storage(sweep), study_name=_NAME, direction=settings.direction, load_if_exists=True
    )
    study.set_user_attr("search", asked)
    study.set_user_attr("objective", settings.objective)
    study.set_user_attr("pruning", [settings.pruning.startup, settings.pruning.after] if settings.pruning else None)
    return study


def read_study(sweep: Path) -> "Study":
    """The same, to be read and reported to."""
    import optuna

    return optuna.load_study(storage=_storage(sweep), study_name=_NAME, sampler=optuna.samplers.RandomSampler())


class TrialReport:
    """What a trial that is trained reports, and how it ends.

    Args:
        sweep: The folder of the search.
        number: Of the trial.
        steps: How many its training takes.
    """

    def __init__(self, sweep: Path, number: int, *, steps: int) -> None:
        import optuna

        self._study = read_study(sweep)
        self._trial = optuna.trial.Trial(self._study, self.known()[number]._trial_id)
        self.number = number
        self.steps = steps
        self.objective = str(self._study.user_attrs["objective"])

    def known(self) -> "list[FrozenTrial]":
        """All trials of the search, by number."""
        return self._study.get_trials(deepcopy=False)

    @property
    def frozen(self) -> "FrozenTrial":
        """The trial as the file has it."""
        return self.known()[self.number]

    @property
    def is_given_up(self) -> bool:
        """Whether a validation was its last."""
        return _PRUNED in self.frozen.user_attrs

    def validated(self, figure: float, step: int) -> bool:
        """Reports the figure of a validation, once; whether the trial is to be given up."""
        if step not in self.frozen.intermediate_values:  # as it is where a resumed training repeats a validation
            self._trial.report(figure, step)
        pruner = self._pruner()
        behind = pruner is not None and step < self.steps and pruner.prune(self._study, self.frozen)
        if behind:
            self._trial.set_user_attr(_PRUNED, step)
        return behind

    def ended(self) -> None:
        """Notes that the training has come to its end, or was given up; the last figure counts."""
        from optuna.trial import TrialState

        figures = self.frozen.intermediate_values
        if self.is_given_up:
            self._study.tell(self.number, state=TrialState.PRUNED)
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of a figure that is no number, whose trial has failed
                self._study.tell(self.number, figures[max(figures)], skip_if_finished=True)

    def failed(self) -> None:
        """Notes that there is no figure of this trial."""
        fail(self._study, self.number)

    def _pruner(self) -> "BasePruner | None":
        import optuna

        rule: Any = self._study.user_attrs["pruning"]
        if rule is None:
            return None
        startup, after = rule
        return optuna.pruners.MedianPruner(n_startup_trials=startup, n_warmup_steps=int(after * self.steps))


def fail(study: "Study", number: int) -> None:
    """Notes that a trial has failed."""
    from optuna.trial import TrialState

    study.tell(number, state=TrialState.FAIL, skip_if_finished=True)


def _storage(sweep: Path) -> "JournalStorage":
    import optuna
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.storages.JournalStorage(JournalFileBackend(str(sweep / FILE)))
