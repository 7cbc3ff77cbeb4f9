"""Searches: what is chosen, what becomes of trials that fail or are cut off, and how a killed search goes on."""

import math
from pathlib import Path

import pytest
from hydra.core.hydra_config import HydraConfig

from segpipe.config.launch import JobResult, launch
from segpipe.config.sweeps.job_codes import read_jobs
from segpipe.config.sweeps.trials import TrialReport, read_study
from segpipe.errors import ConfigError, TrainingError
from segpipe.system.processes.stopping import Stopped

SPACE = ["optimizer.lr=tag(log,interval(1e-4,1e-1))", "seed=choice(1,2,3)", "training.batch_size=int(interval(2,8))"]
STEPS = 10


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def job(config, folder: Path, sweep: Path) -> JobResult:
    """Stands for a training: better the nearer its rate is to 0.01, two validations."""
    trial = TrialReport(sweep, HydraConfig.get().job.num, steps=STEPS)
    if not trial.frozen.state.is_finished():
        figure = -abs(math.log10(config.optimizer.lr) + 2)
        if not trial.validated(figure - 0.1, STEPS // 2):
            trial.validated(figure, STEPS)
        trial.ended()
    return JobResult(0)


def search(*words: str, job=job, sweep: str = "sweep", space=SPACE) -> int:
    own = [f"hydra.sweep.dir={sweep}", "hydra/sweeper=optuna", "hydra.sweeper.startup=1", "--multirun"]
    return launch([*own, *space, *words], job, dict)


def chosen(sweep: str = "sweep") -> list[dict]:
    return [trial.params for trial in read_study(Path(sweep)).trials]


def states(sweep: str = "sweep") -> list[str]:
    return [trial.state.name.lower() for trial in read_study(Path(sweep)).trials]


@pytest.mark.slow
def test_a_trial_is_a_job_with_values_of_the_space_and_those_before_it_decide_on_them():
    assert search("hydra.sweeper.trials=3") == 0
    assert states() == ["complete"] * 3
    assert [found.number for found in read_jobs(Path("sweep"))] == [0, 1, 2]
    for params in chosen():
        assert 1e-4 <= params["optimizer.lr"] <= 1e-1
        assert params["seed"] in ("1", "2", "3")
        assert params["training.batch_size"] in range(2, 9)
    search("hydra.sweeper.trials=3", "hydra.sweeper.startup=3", sweep="random")
    assert chosen("random")[0] == chosen()[0]
    assert all(one != other for one, other in zip(chosen("random")[1:], chosen()[1:], strict=True))


@pytest.mark.slow
def test_a_search_that_goes_on_chooses_what_it_would_have_chosen_at_once():
    search("hydra.sweeper.trials=3", sweep="whole")
    search("hydra.sweeper.trials=1", sweep="parts")
    search("hydra.sweeper.trials=3", "resume=true", sweep="parts")
    assert chosen("parts") == chosen("whole")
    search("hydra.sweeper.trials=1", "hydra.sweeper.seed=1", sweep="other")
    assert chosen("other") != chosen("whole")[:1]


def test_a_trial_that_was_cut_off_goes_on_with_its_number_and_what_it_had_chosen():
    def stopped(config, folder, sweep):
        if HydraConfig.get().job.num == 1:
            raise Stopped(15)
        return job(config, folder, sweep)

    with pytest.raises(Stopped):
        search("hydra.sweeper.trials=4", "hydra.sweeper.parallel=2", job=stopped)
    assert states() == ["complete", "running"]
    begun = chosen()
    assert search("hydra.sweeper.trials=3", "hydra.sweeper.parallel=2", "resume=true") == 0
    assert states() == ["complete"] * 3
    assert chosen()[:2] == begun


def test_a_trial_that_fails_is_named_and_the_search_goes_on(capsys):
    def diverges(config, folder, sweep):
        if HydraConfig.get().job.num == 1:
            TrialReport(sweep, 1, steps=STEPS).failed()
            raise TrainingError("the training diverged")
        return job(config, folder, sweep)

    assert search("hydra.sweeper.trials=3", job=diverges) == 2
    assert states() == ["complete", "fail", "complete"]
    assert "1 of 3 jobs failed:\n  job 1  exit code 2" in capsys.readouterr().err


def test_a_search_in_which_all_trials_fail_ends_after_three(caplog):
    def never(config, folder, sweep):
        TrialReport(sweep, HydraConfig.get().job.num, steps=STEPS).failed()
        raise TrainingError("no")

    assert search("hydra.sweeper.trials=9", job=never) == 2
    assert states() == ["fail"] * 3


def test_a_trial_whose_values_do_not_go_together_has_failed():
    space = ["seed=choice(3,${network.num_res_units})", "network=choice(unet,dynunet)"]  # which has no such key
    assert search("hydra.sweeper.trials=6", space=space) == 2
    apart = [number for number, found in enumerate(chosen()) if "$" in found["seed"] and found["network"] == "dynunet"]
    assert 0 < len(apart) < 6
    assert states() == ["fail" if number in apart else "complete" for number in range(6)]
    assert [found.number for found in read_jobs(Path("sweep")) if found.code == 2] == apart


def test_a_trial_far_behind_the_others_is_given_up_and_its_last_figure_is_kept():
    search("hydra.sweeper.trials=7", "hydra.sweeper.pruning.startup=2")
    trials = read_study(Path("sweep")).trials
    given_up = [trial for trial in trials if trial.state.name == "PRUNED"]
    assert given_up
    assert trials[0].state.name == trials[1].state.name == "COMPLETE"
    assert all(list(trial.intermediate_values) == [STEPS // 2] for trial in given_up)
    assert all(trial.value == trial.intermediate_values[STEPS // 2] for trial in given_up)


def test_a_trial_that_was_given_up_stays_so_when_its_end_was_not_noted():
    search("hydra.sweeper.trials=2", "hydra.sweeper.pruning=null")

    def cut_off(config, folder, sweep):
        report = TrialReport(sweep, HydraConfig.get().job.num, steps=STEPS)
        assert report.validated(-100.0, STEPS // 2)
        raise Stopped(9)

    own = ["hydra.sweeper.trials=3", "resume=true", "hydra.sweeper.pruning={startup: 1, after: 0.1}"]
    with pytest.raises(Stopped):
        search(*own, job=cut_off)
    report = TrialReport(Path("sweep"), 2, steps=STEPS)
    assert report.is_given_up
    report.ended()
    assert states() == ["complete", "complete", "pruned"]


@pytest.mark.slow
def test_trials_that_the_launcher_does_not_run_at_once_are_said(capfd):
    search("hydra.sweeper.trials=1", "hydra.sweeper.parallel=1")
    assert "hydra.sweeper.parallel" not in "".join(capfd.readouterr())
    search("hydra.sweeper.trials=2", "hydra.sweeper.parallel=2", sweep="one_after_another")
    said = "".join(capfd.readouterr())
    assert "hydra.sweeper.parallel=2: Hydra's own launcher runs these trials one after another" in said


def test_no_trial_is_given_up_early():
    search("hydra.sweeper.trials=4", "hydra.sweeper.pruning.startup=1", "hydra.sweeper.pruning.after=0.6")
    assert states() == ["complete"] * 4


def test_a_figure_that_is_no_number_is_no_figure():
    search("hydra.sweeper.trials=1", job=lambda config, folder, sweep: JobResult(0))
    report = TrialReport(Path("sweep"), 0, steps=STEPS)
    report.validated(math.nan, STEPS)
    report.ended()
    assert states() == ["fail"]


def test_the_smallest_figure_can_be_the_best():
    search("hydra.sweeper.trials=3", "hydra.sweeper.direction=minimize")
    study = read_study(Path("sweep"))
    assert study.best_value == min(trial.value for trial in study.trials)


def test_a_key_that_is_given_is_not_searched():
    words = ["+experiment=lung_nodule_voi", "+sweep=lung_nodule_voi", "data.root=scans"]
    words += ["optimizer.lr=0.001", "augmentation=none", "hydra.sweeper.trials=1"]
    assert launch(["hydra.sweep.dir=sweep", *words], job, dict) == 0
    assert set(chosen()[0]) == {"optimizer.weight_decay", "loss.ce_weight", "loss.lesion_weight", "network.channels"}


@pytest.mark.parametrize(
    ("words", "message", "facts"),
    [
        (["hydra.sweeper.trials=0"], "the configuration has a mistake", "hydra.sweeper.trials=0: "),
        (["hydra.sweeper.pruning.after=1"], "the configuration has a mistake", "hydra.sweeper.pruning.after=1: "),
        (["hydra.sweeper.direction=up"], "the configuration has a mistake", "'maximize' or 'minimize'"),
        (["hydra.sweeper.trails=3"], "the configuration has a mistake", "did you mean hydra.sweeper.trials?"),
        (["seed=tag(log,interval(0,3))"], "a key cannot be chosen from what is given", "seed=tag(log,interval(0,3))"),
        (["seed=interval(3,1)"], "a key cannot be chosen from what is given", "seed=interval(3,1)"),
    ],
)
def test_mistakes_are_said_before_any_trial(words, message, facts):
    with pytest.raises(ConfigError, match=message) as caught:
        search("optimizer.lr=0.1,0.2", *words, space=[])
    assert facts in str(caught.value)
    assert not read_jobs(Path("sweep"))


def test_a_search_of_nothing_is_refused():
    with pytest.raises(ConfigError, match="a search needs keys to choose the values of") as caught:
        search("optimizer.lr=0.1", space=[])
    assert caught.value.facts == {"found": "optimizer.lr=0.1"}


def test_another_search_needs_a_folder_of_its_own():
    search("hydra.sweeper.trials=1")
    with pytest.raises(ConfigError, match="the folder holds another search") as caught:
        search("hydra.sweeper.trials=2", "resume=true", "optimizer.lr=0.1")
    assert "now None" in caught.value.facts["optimizer.lr"]
    with pytest.raises(ConfigError, match="the folder holds another search") as caught:
        search("hydra.sweeper.trials=2", "resume=true", "hydra.sweeper.direction=minimize")
    assert caught.value.facts["hydra.sweeper.direction"] == "maximize, now minimize"
    assert len(states()) == 1
