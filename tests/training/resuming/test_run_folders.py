"""Two runs never share a folder, and `resume=true` means the newest unfinished run of the same settings, or none."""

import os
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import torch.distributed as dist
import yaml

from segpipe.config.folder_request import FolderRequest
from segpipe.errors import ConfigError, OutputError
from segpipe.system.files.held_folder import MARK, hold, was_cut_off
from segpipe.training.resuming.run_folders import choose_folder

SETTINGS = {"seed": 0, "resume": False, "optimizer": {"name": "adam", "lr": 0.1}, "scheduler": {"name": "cosine"}}


def request(runs: Path, *, resume: bool = False, named: bool = False, words=(), **changes) -> FolderRequest:
    content = {**SETTINGS, "resume": resume, **changes}
    return FolderRequest(runs / "now", named, resume, content, words)


def write_config(folder: Path, **changes) -> None:
    (folder / "config.yaml").write_text(yaml.safe_dump({**SETTINGS, **changes}, sort_keys=False))


def begin(folder: Path, *, age: int, finished: bool = False, cut_off: bool = False, **changes) -> Path:
    folder.mkdir(parents=True)
    write_config(folder, **changes)
    os.utime(folder / "config.yaml", (1000 - age, 1000 - age))
    if finished:
        (folder / "model").mkdir()
        (folder / "model" / "segpipe.json").write_text("{}")
    if cut_off:
        (folder / MARK).touch()
    return folder


def begin_sweep(folder: Path, *words: str, age: int) -> Path:
    folder.mkdir(parents=True)
    (folder / "multirun.yaml").write_text(yaml.safe_dump({"hydra": {"overrides": {"task": list(words)}}}))
    os.utime(folder / "multirun.yaml", (1000 - age, 1000 - age))
    return folder


def refused(wanted: FolderRequest) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        choose_folder(wanted)
    return caught.value


def test_runs_that_begin_in_the_same_second_get_folders_of_their_own(tmp_path):
    folders = [choose_folder(request(tmp_path / "runs")) for _ in range(3)]
    assert [folder.name for folder in folders] == ["now", "now_2", "now_3"]
    assert all(folder.is_dir() for folder in folders)


def test_a_named_folder_that_holds_a_run_is_not_mixed_with_another(tmp_path):
    named = request(tmp_path, named=True)
    assert choose_folder(named) == choose_folder(named) == tmp_path / "now"  # an empty one may be taken
    (tmp_path / "now" / "config.yaml").write_text("seed: 0\n")
    error = refused(named)
    assert error.message == "the folder holds a run already"
    assert error.facts == {"folder": tmp_path / "now"}
    assert choose_folder(request(tmp_path, named=True, resume=True)) == tmp_path / "now"


def test_the_newest_unfinished_run_of_the_same_settings_is_resumed(tmp_path):
    killed = begin(tmp_path / "killed", age=3)
    begin(tmp_path / "older", age=4)
    begin(tmp_path / "other", age=2, seed=7)
    begin(tmp_path / "finished", age=1, finished=True)
    begin_sweep(tmp_path / "sweep", age=0)
    assert choose_folder(request(tmp_path, resume=True)) == killed
    assert choose_folder(request(tmp_path, resume=True, seed=7)) == tmp_path / "other"
    assert not (tmp_path / "now").exists()


def test_a_run_that_was_killed_after_its_model_was_written_is_unfinished(tmp_path):
    cut_off = begin(tmp_path / "cut_off", age=1, finished=True, cut_off=True)
    assert choose_folder(request(tmp_path, resume=True)) == cut_off


def test_of_runs_that_differ_in_what_may_change_the_one_that_does_not_comes_first(tmp_path):
    same = begin(tmp_path / "same", age=2)
    faster = begin(tmp_path / "faster", age=1, optimizer={"name": "adam", "lr": 0.2})
    assert choose_folder(request(tmp_path, resume=True)) == same
    assert choose_folder(request(tmp_path, resume=True, optimizer={"name": "adam", "lr": 0.3})) == faster


def test_where_there_is_nothing_to_resume_it_is_refused_with_the_reasons(tmp_path):
    begin(tmp_path / "other", age=1, seed=7, network="unet")
    begin(tmp_path / "done", age=2, finished=True)
    begin(tmp_path / "damaged", age=0)
    (tmp_path / "damaged" / "config.yaml").write_text("a: [")
    assert str(refused(request(tmp_path, resume=True))) == (
        "there is no unfinished run of this configuration to resume\n"
        f"  looked in  {tmp_path}\n"
        "  other      differs in seed, network\n"
        "  done       is finished\n"
        "  try        leave out resume=true, or name the folder to go on in, or to begin: "
        "hydra.run.dir=FOLDER resume=true"
    )


def test_a_named_folder_is_resumed_or_begun(tmp_path):
    assert choose_folder(request(tmp_path, named=True, resume=True)) == tmp_path / "now"
    assert (tmp_path / "now").is_dir()


def test_processes_that_srun_starts_together_share_a_folder(tmp_path, monkeypatch):
    for name, value in {"SLURM_STEP_NUM_TASKS": "2", "SLURM_JOB_ID": "17", "SLURM_STEP_ID": "0"}.items():
        monkeypatch.setenv(name, value)
    first, second = request(tmp_path), FolderRequest(tmp_path / "a_second_later", False, False, SETTINGS)
    assert choose_folder(first) == choose_folder(second, main=False) == tmp_path / "job_17_0"
    (tmp_path / "job_17_0" / "config.yaml").write_text(yaml.safe_dump(SETTINGS, sort_keys=False))
    assert choose_folder(second, main=False) == tmp_path / "job_17_0"
    again = request(tmp_path, resume=True)  # the job was put into the queue again
    assert choose_folder(again) == choose_folder(again, main=False) == tmp_path / "job_17_0"
    monkeypatch.setenv("SLURM_JOB_ID", "18")
    assert choose_folder(again) == choose_folder(again, main=False) == tmp_path / "job_17_0"


def test_of_processes_that_torchrun_starts_together_the_first_one_chooses(tmp_path, monkeypatch):
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, timeout=timedelta(seconds=60))
    start = {"TORCHELASTIC_RUN_ID": "none", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": store.port}
    for name, value in start.items():
        monkeypatch.setenv(name, str(value))
    choose_folder(request(tmp_path, named=True))  # another run began in the same second
    first, second = request(tmp_path), FolderRequest(tmp_path / "a_second_later", False, False, SETTINGS)
    assert choose_folder(first) == choose_folder(second, main=False) == tmp_path / "now_2"


@pytest.fixture
def job(monkeypatch):
    """Starts a Slurm job in the eyes of this process, and starts it again."""
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    return lambda restarts=0, **more: [monkeypatch.setenv(name, str(value)) for name, value in
                                       {"SLURM_RESTART_COUNT": restarts, **more}.items()]  # fmt: skip


def test_a_job_that_slurm_starts_again_goes_on_in_its_folder(tmp_path, job):
    job()
    first, second = choose_folder(request(tmp_path)), choose_folder(request(tmp_path, seed=7))
    assert [first.name, second.name] == ["job_17", "job_17_2"]
    write_config(first), write_config(second, seed=7)
    job(restarts=1)
    assert choose_folder(request(tmp_path)) == first
    assert choose_folder(request(tmp_path, seed=7)) == second
    assert choose_folder(request(tmp_path, seed=8)).name == "job_17_3"  # which it had not come to
    job(restarts=1, SLURM_STEP_ID=0)
    assert choose_folder(request(tmp_path)).name == "job_17_0"


def test_a_named_folder_or_one_of_several_processes_is_gone_on_in_by_a_job_that_is_started_again(tmp_path, job):
    named = request(tmp_path, named=True)
    write_config(choose_folder(named))
    assert refused(named).message == "the folder holds a run already"
    job(restarts=1)
    assert choose_folder(named) == tmp_path / "now"
    job(restarts=1, SLURM_STEP_NUM_TASKS=2, SLURM_STEP_ID=0)
    several = request(tmp_path)
    assert choose_folder(several) == choose_folder(several, main=False) == tmp_path / "job_17_0"
    write_config(tmp_path / "job_17_0")
    assert choose_folder(several) == choose_folder(several, main=False) == tmp_path / "job_17_0"


def test_a_sweep_in_a_job_that_is_started_again_is_the_one_of_its_words(tmp_path, job):
    job(restarts=1)
    begin_sweep(tmp_path / "job_17", "seed=0,1", age=1)
    begin_sweep(tmp_path / "job_17_2", "seed=0,1", "resume=true", "data=phantom", age=0)
    words = ("seed=0,1", "data=phantom")
    assert choose_folder(request(tmp_path, words=words)) == tmp_path / "job_17_2"
    assert choose_folder(request(tmp_path, words=words[:1])) == tmp_path / "job_17"
    assert choose_folder(request(tmp_path, words=("seed=0,2",))) == tmp_path / "job_17_3"


def test_a_sweep_is_resumed_by_its_words_in_their_order(tmp_path):
    begin_sweep(tmp_path / "older", "seed=0,1", "data=phantom", age=2)
    newer = begin_sweep(tmp_path / "newer", "seed=0,1", "resume=true", "data=phantom", age=1)
    begin_sweep(tmp_path / "turned", "data=phantom", "seed=0,1", age=0)
    words = ("resume=true", "seed=0,1", "data=phantom")
    assert choose_folder(request(tmp_path, resume=True, words=words)) == newer
    error = refused(request(tmp_path, resume=True, words=("seed=0,2", "resume=true")))
    assert error.message == "there is no sweep of these words, in this order to resume"
    assert error.facts["newer"] == "began with seed=0,1 data=phantom"
    assert "hydra.sweep.dir=FOLDER resume=true" in error.hint


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_folder_that_cannot_be_made_is_one_message(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="the folder of the run cannot be made") as caught:
        choose_folder(request(tmp_path))
    tmp_path.chmod(0o700)
    assert caught.value.facts["found"] == "Permission denied"


def test_a_file_where_the_folder_should_be_is_one_message(tmp_path):
    (tmp_path / "runs").touch()
    with pytest.raises(OutputError, match="the folder of the run cannot be made"):
        choose_folder(request(tmp_path / "runs"))


def test_a_folder_is_held_by_one_process_and_marked_until_the_end(tmp_path):
    with hold(tmp_path):
        assert was_cut_off(tmp_path)
        with pytest.raises(ConfigError, match="another process is at work in this folder"), hold(tmp_path):
            pass
    assert not was_cut_off(tmp_path)
    with pytest.raises(KeyboardInterrupt), hold(tmp_path):
        raise KeyboardInterrupt
    assert was_cut_off(tmp_path)
    with hold(tmp_path):
        pass


def test_the_mark_goes_with_an_error_where_nothing_resumes(tmp_path):
    with pytest.raises(KeyboardInterrupt), hold(tmp_path, marks_errors=False):
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


def test_what_is_only_tried_gets_a_passing_folder_where_one_exists(tmp_path, monkeypatch):
    wanted = FolderRequest(tmp_path / "runs" / "now", False, False, SETTINGS, check=True)
    folder = choose_folder(wanted)
    assert folder == tmp_path / f".check_now_{os.getpid()}"
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]
    named = replace(wanted, wanted=folder, named=True)  # by Lightning, to a further process
    assert choose_folder(named, main=False) == folder
    for name, value in {"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "2"}.items():
        monkeypatch.setenv(name, value)
    assert choose_folder(wanted) == choose_folder(wanted, main=False) == tmp_path / ".check_job_7_0"
