"""`check=true` tries a run, says what it will take and what stands in its way, and leaves nothing behind."""

import re
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import pytest

from segpipe.cli.train import registries
from segpipe.config.check import settings_of
from segpipe.config.compose import compose
from segpipe.datasets.manifest import Entry, Manifest
from segpipe.errors import ConfigError, TrainingError
from segpipe.planning import preflight, surroundings, trial
from segpipe.planning.estimate import Work, time_items, work_of
from segpipe.planning.trial import Trial
from tests.support.processes import segpipe

Usage = namedtuple("Usage", "total used free")
TRIAL = Trial(
    step_s=0.5,
    patch_s=0.2,
    validation_s=2.0,
    case_s=3.0,
    peak_bytes=2**30,
    checkpoint_bytes=30 * 2**20,
    weights_bytes=10 * 2**20,
    mask_bytes=2**20,
    prepared_bytes=8 * 2**20,
)


@pytest.fixture
def configured(tiny_words):
    def make(*more):
        return settings_of(compose([*tiny_words, "tracking=none", *more], registries), registries())

    return make


@pytest.fixture
def free(monkeypatch):
    """Disks with so much free space."""

    def make(count: int) -> None:
        monkeypatch.setattr(surroundings.shutil, "disk_usage", lambda folder: Usage(2**40, 0, count))

    return make


def manifest(train: int, val: int, test: int, folder: Path = Path("data")) -> Manifest:
    roles = ["train"] * train + ["val"] * val + ["test"] * test
    files = [(folder / f"i{number}.nii", folder / f"m{number}.nii") for number in range(len(roles))]
    entries = [Entry(f"c{n}", f"p{n}", *files[n], split=role) for n, role in enumerate(roles)]
    return Manifest("d", "nifti", tuple(entries), {1: "nodule"})


@pytest.mark.slow
def test_a_check_leaves_only_what_it_prepared(tiny_words, tmp_path):
    words = [*tiny_words, "training.ema=0.9", f"data.cache={tmp_path / 'cache'}", "check=true"]
    (tmp_path / "work").mkdir()
    text = segpipe(*words, cwd=tmp_path / "work")
    assert text.startswith("checking lung_nodule: computing on cpu in ")
    # ten patients: 7 train, 1 validates, 2 are held out; of the 8 whose patches are read 2 + 1 are prepared
    assert "\ndata        10 cases: 7 to train on, 1 to validate, 2 held out\n" in text
    assert "; 5 of 8 cases are still to be prepared, " in text
    assert "tracking    sqlite:///mlflow.db, which the run makes\n" in text
    assert re.search(r"\nrun         .*: 12 steps, 2 validations, 3 cases predicted and evaluated; ", text)
    assert "problem" not in text
    assert len(list(tmp_path.glob("cache/prepared/*/*/case.json"))) == 3
    assert list((tmp_path / "work").iterdir()) == []


def test_a_problem_hides_no_other(configured, tmp_path, monkeypatch, capsys):
    def fit(*given, **named):
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(trial, "fit", fit)
    monkeypatch.setattr(preflight, "tracking_item", lambda settings: surroundings.Item("tracking", "x", problem="away"))
    folder = tmp_path / "passing"
    folder.mkdir()
    assert preflight.check_run(configured(), folder) == 2
    text = capsys.readouterr().out
    assert "trial     failed\n          problem: TrainingError: the memory does not suffice\n" in text
    assert "step    2 patches of 32×32×16 voxels" in text
    assert "problem: away" in text
    assert not folder.exists()


def test_a_data_set_that_cannot_be_opened_is_a_problem(configured, tmp_path, capsys):
    (tmp_path / "passing").mkdir()
    assert preflight.check_run(configured(f"data.root={tmp_path / 'nowhere'}"), tmp_path / "passing") == 2
    assert "data      nifti\n          problem: DatasetError: " in capsys.readouterr().out


def test_other_errors_than_of_memory_stay_what_they_are(configured):
    with pytest.raises(RuntimeError, match="something else"):
        trial._within_memory(configured(), lambda: (_ for _ in ()).throw(RuntimeError("something else")))
    with pytest.raises(TrainingError, match="the memory does not suffice"):
        trial._within_memory(
            configured(), lambda: (_ for _ in ()).throw(RuntimeError("DefaultCPUAllocator: can't allocate memory"))
        )


def test_the_time_of_a_run_is_the_sum_of_its_parts():
    work = Work(steps=600, patches=4, validations=10, cases=20)
    step, each, whole = time_items(TRIAL, work, workers=2)
    # two workers make 4 patches in 0.4 s, while a step of 0.5 s goes on: 600·0.5 + 10·2 + 20·3 = 380 s
    assert (step.found, step.warning) == ("0.5 s; 1000 steps in 8.3 min", "")
    assert each.found == "2 s; of a whole case 3 s"
    assert whole.found.startswith("6.3 min: 600 steps, 10 validations, 20 cases predicted")


def test_loaders_that_are_slower_than_the_step_decide():
    step, _, whole = time_items(TRIAL, Work(600, 4, 10, 20, folds=5), workers=1)
    # one worker makes 4 patches in 0.8 s: 5·(600·0.8 + 20 + 60) = 2800 s
    assert step.found.startswith("0.8 s; ")
    assert step.warning.startswith("loading takes 1.6 times as long as the step")
    assert whole.found.startswith("46.7 min: 5 folds, 1 at a time, of 600 steps")


def test_folds_side_by_side_take_the_time_of_their_rounds():
    whole = time_items(TRIAL, Work(600, 4, 10, 20, folds=5, side_by_side=2), workers=2)[2]
    # three rounds of 380 s
    assert whole.found.startswith("19.0 min: 5 folds, 2 at a time, of 600 steps")


def test_processes_share_out_the_cases():
    whole = time_items(TRIAL, Work(600, 4, 10, 20, processes=3), workers=2)[2]
    # 7 of 20 cases in one of them: 600·0.5 + 10·2 + 7·3 = 341 s
    assert whole.found.startswith("5.7 min: 600 steps")


def test_a_second_stage_takes_its_steps_and_predicts_the_cases_that_it_learns_from(configured):
    work = work_of(configured("detector=two_stage", "detector.steps=100"), manifest(7, 1, 2))
    assert (work.cases, work.stage_steps) == (11, 100)  # 2 held out and 1 to choose on, then 7 and 1
    mined = work_of(configured("sampling.hard_negatives=0.3"), manifest(7, 1, 2))
    assert mined.cases == 17  # 2 and 1, then 7 after the fifth and the tenth of twelve steps
    whole = time_items(replace(TRIAL, stage_step_s=0.2), Work(600, 4, 10, 20, stage_steps=100), workers=2)[2]
    # 600·0.5 + 10·2 + 20·3 + 100·0.2 = 400 s
    assert whole.found.startswith("6.7 min: ")
    assert "20 cases predicted and evaluated, 100 steps of a second stage; " in whole.found


def test_without_workers_a_step_holds_its_loading():
    assert time_items(TRIAL, Work(600, 4, 10, 20), workers=0)[0].found.startswith("0.5 s; ")


def test_the_work_follows_from_configuration_and_roles(configured):
    settings = configured("training.accumulate=3", "trainer.max_steps=23")
    assert work_of(settings, manifest(7, 1, 2)) == Work(steps=23, patches=6, validations=4, cases=3)
    crossed = configured("data.fold=all", "data.folds=4")
    assert work_of(crossed, manifest(6, 0, 2)) == Work(steps=12, patches=2, validations=2, cases=2, folds=4)
    together = configured("trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu", "trainer.workers=0")
    assert (work_of(together, manifest(7, 1, 2)).processes, work_of(together, manifest(7, 1, 2)).side_by_side) == (2, 1)
    assert work_of(configured("evaluation.tune_operating_point=false"), manifest(7, 1, 2)).cases == 2
    assert work_of(configured("evaluation.membership=true"), manifest(7, 1, 2)).cases == 5  # two of the training's
    voi = configured("evaluation.tune_operating_point=false", "recipe.scope=voi")
    assert work_of(voi, manifest(7, 1, 2)).cases == 3  # confidences are calibrated on the validation case


def test_of_a_cross_validation_one_fold_is_tried_on_one_device(configured):
    words = ["data.fold=all", "data.folds=4", "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"]
    settings = configured(*words)
    one = preflight._one_fold(settings)
    assert (one.data.fold, one.trainer.devices, one.trainer.strategy) == (0, 1, "auto")
    work = work_of(settings, manifest(6, 0, 2))
    assert (work.folds, work.side_by_side, work.processes) == (4, 2, 1)


def test_a_trial_is_the_run_with_fewer_steps(configured):
    settings = configured("training.early_stopping=3", "evaluation.weights=best", "resume=true")
    short = trial.shortened(settings)
    assert (short.trainer.max_steps, short.training.validate_every, short.training.log_every) == (6, 6, 1)
    assert (short.training.early_stopping, short.evaluation.weights, short.resume) == (None, "last", False)
    assert short.network == settings.network


def test_shared_memory_must_hold_what_workers_have_ready(configured, free, monkeypatch, tmp_path):
    monkeypatch.setattr(surroundings, "SHARED_MEMORY", tmp_path)
    settings = configured("trainer.workers=3")
    # 2 patches of 32·32·16 voxels of 5 bytes are 160 kB; 3 workers have 2 each ready and one is in use: 1120 kB
    free(1120 * 2**10)
    assert surroundings.shared_memory_item(settings) == (str(tmp_path), "1.1 MB needed, 1.1 MB free", "", "")
    free(1120 * 2**10 - 1)
    assert "--shm-size=" in surroundings.shared_memory_item(settings).warning
    assert surroundings.shared_memory_item(configured("trainer.workers=0")).found.startswith("0.0 kB needed")
    monkeypatch.setattr(surroundings, "SHARED_MEMORY", tmp_path / "none")
    assert surroundings.shared_memory_item(settings) is None


def test_more_workers_than_cores_are_a_warning(configured, monkeypatch):
    monkeypatch.setattr(surroundings, "available_cores", lambda: 4)
    assert surroundings.cores_item(configured("trainer.workers=3")).warning == ""
    item = surroundings.cores_item(configured("trainer.workers=4"))
    assert item.found == "4; processes: 1 to train, 4 to read patches"
    assert item.warning == "they will wait for each other; trainer.workers=3"
    assert surroundings.cores_item(configured("trainer.workers=auto")).warning == ""


def test_a_disk_without_room_is_a_problem(configured, free, tmp_path, tiny_dataset):
    settings = configured(f"data.cache={tmp_path}")
    cases = manifest(7, 1, 2, tiny_dataset)
    # 8 cases of 8 MB; 3·30 + 2·10 + 2·1 = 112 MB of the run's folder, on the same disk
    free(176 * 2**20)
    cache, run = surroundings.disk_items(settings, cases, TRIAL, tmp_path)
    assert cache.found.startswith(f"64.0 MB needed, 176.0 MB free in {tmp_path}; 8 of 8 cases are still to be prepared")
    assert run.found.startswith(f"112.0 MB needed, 176.0 MB free in {tmp_path}")
    assert (cache.problem, run.problem) == ("", "")
    _, keeps = surroundings.disk_items(configured("training.keep_every=5"), cases, TRIAL, tmp_path)
    assert keeps.found.startswith("172.0 MB needed")  # two more of 30 MB, after 5 and 10 of 12 steps
    free(176 * 2**20 - 1)
    cache, run = surroundings.disk_items(settings, cases, TRIAL, tmp_path)
    assert (cache.problem, run.problem) == ("", "the disk would be full\ntry  hydra.run.dir=FOLDER on a larger disk")


def test_a_tracker_that_does_not_answer_is_a_problem(configured, tmp_path, new_database):
    away = surroundings.tracking_item(configured("tracking=mlflow", "tracking.uri=http://127.0.0.1:9"))
    assert away.problem.startswith("ServiceError: the MLflow server cannot be used")
    assert surroundings.tracking_item(configured()).found == "none"
    new = f"sqlite:///{tmp_path / 'new.db'}"
    assert surroundings.tracking_item(configured("tracking=mlflow", f"tracking.uri={new}")).found.endswith("run makes")
    assert not (tmp_path / "new.db").exists()
    uri = new_database(tmp_path)
    assert surroundings.tracking_item(configured("tracking=mlflow", f"tracking.uri={uri}")).found == f"{uri} answers"


def test_a_sweep_is_not_checked(tiny_words, tmp_path, monkeypatch):
    from segpipe.cli.train import run

    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="check=true tries one run, not a sweep"):
        run([*tiny_words, "check=true", "seed=0,1", "--multirun"])
    assert list(tmp_path.iterdir()) == []
