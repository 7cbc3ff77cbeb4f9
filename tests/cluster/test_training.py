"""Trainings on a real Slurm, started by the script of docs/cluster.md: preempted, killed, swept; nothing is lost."""

import os
import random
import signal
import time
from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient

from segpipe.config.sweeps.trials import read_study
from segpipe.tracking.identity import read_run_id
from segpipe.tracking.opening import SPOOL
from segpipe.training.callbacks import read_history
from tests.cluster.slurm import Slurm, wait_until
from tests.peers.mlflow_server import Server
from tests.support.processes import Process, as_main, segpipe
from tests.support.ranks import run_ranks
from tests.support.runs import saved_weights, statuses, step_of

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
SCRIPT = Path(__file__).parents[2] / "docs" / "cluster" / "train.sbatch"
PREEMPTIONS = int(os.environ.get("SEGPIPE_CLUSTER_PREEMPTIONS", "2"))
OUTAGE_S = float(os.environ.get("SEGPIPE_CLUSTER_OUTAGE_S", "3"))
SKIP = "{_target_: tests.samples.small_models.SkipPages}"
RANKS = int(os.environ.get("SEGPIPE_CLUSTER_RANKS", "1"))


@pytest.fixture
def home(tmp_path, new_database) -> Path:
    """The folder that everything is called in, with an empty MLflow database."""
    new_database(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def words(tiny_words) -> list[str]:
    kept = [word for word in tiny_words if not word.startswith(("trainer=", "trainer.max_steps"))]
    own = ["trainer=auto", "trainer.accelerator=cpu", "evaluation.overlays=0"]
    return [*kept, *own, f"callbacks=[{SKIP}]"]


def preempt(slurm: Slurm, job: str, run: Path, *, restarts: int, step: int) -> None:
    """Sends the signal that Slurm sends before a job's time is up, as soon as the step is done.

    Slurm starts the job again when its old credential has run out (`cred_expire`); sooner, it would be a revoked one.
    """
    wait_until(lambda: step_of(run) >= step, what=f"step {step}")
    slurm.call("scancel", "--signal=USR1", job)
    wait_until(lambda: slurm.state(job)["Restarts"] == str(restarts + 1), what="the job in the queue")


def test_preempted_again_and_again_a_training_ends_with_the_weights_of_one_that_was_not(slurm: Slurm, home, words):
    steps = [*words, "trainer.max_steps=80", f"trainer.devices={RANKS}"]
    job = slurm.submit("--array=7", "--cpus-per-task=1", f"--ntasks-per-node={RANKS}", SCRIPT, *steps, cwd=home)
    run = home / "runs" / "lung_nodule" / f"job_{job}_0"
    for number in range(PREEMPTIONS):
        preempt(slurm, job, run, restarts=number, step=step_of(run) + random.randint(1, 6))
    assert slurm.wait(job) == "COMPLETED"
    log = (home / f"segpipe-{job}.log").read_text()
    assert log.count(f"job {job} is requeued and goes on from here") == PREEMPTIONS
    assert log.count("resuming from last.ckpt") == PREEMPTIONS
    assert list(home.glob("runs/*/*")) == [run]
    assert statuses(home) == {run.name: "FINISHED"}
    whole = [*steps, "seed=7", "tracking=none", "hydra.run.dir=whole"]
    run_ranks(as_main, "segpipe", whole, use_one_thread, cwd=home, log=home / "logs", processes=RANKS)
    assert step_of(run) == step_of(home / "whole") == 80
    expected, found = saved_weights(home / "whole"), saved_weights(run)
    assert all(torch.equal(value, found[name]) for name, value in expected.items())


def use_one_thread() -> None:
    """As many as a job of the cluster has."""
    torch.set_num_threads(1)


def test_a_job_with_a_killed_process_ends_and_goes_on_on_two_machines(slurm: Slurm, home, words):
    words = [*words, "trainer.max_steps=16"]
    job = slurm.submit("--ntasks-per-node=2", "--cpus-per-task=1", SCRIPT, *words, cwd=home)
    run = home / "runs" / "lung_nodule" / f"job_{job}_0"
    wait_until(lambda: (run / "checkpoints" / "last.ckpt").exists(), what="a checkpoint")
    os.kill(slurm.process_of(job, rank=1), signal.SIGKILL)
    assert slurm.wait(job) == "FAILED"
    assert statuses(home)[run.name] in ("FAILED", "KILLED")
    again = slurm.submit("--nodes=2", "--cpus-per-task=1", SCRIPT, *words, "resume=true", cwd=home)
    assert slurm.wait(again) == "COMPLETED"
    log = (home / f"segpipe-{again}.log").read_text()
    assert "2 processes on 2 machines by ddp" in log
    assert f"resuming {run}\n" in log
    assert step_of(run) == 16
    assert statuses(home) == {run.name: "FINISHED"}
    assert (
        slurm.call("sacct", "--noheader", "--parsable2", "--allocations", "--format=State", f"--jobs={job}") == "FAILED"
    )


def test_a_training_goes_on_while_the_mlflow_server_is_away_and_sends_all_when_it_is_back(slurm: Slurm, home, words):
    enough, server = home / "enough", Server(home, f"sqlite:///{home / 'mlflow.db'}")
    words = [word for word in words if not word.startswith("callbacks=")]
    ends = f"{{_target_: tests.cluster.quick.EndsBy, file: {enough}}}"
    words = [*words, f"callbacks=[{SKIP}, {ends}]", "trainer.max_steps=100000", f"tracking.uri={server.uri}"]
    try:
        server.start()
        job = slurm.submit("--cpus-per-task=1", SCRIPT, *words, cwd=home)
        run = home / "runs" / "lung_nodule" / f"job_{job}_0"
        wait_until(lambda: step_of(run) > 0, what="the first step")
        server.stop()
        stopped_at = step_of(run)
        wait_until((run / SPOOL / "unsent.jsonl").exists, what="the outage to be noticed")
        time.sleep(OUTAGE_S)
        assert step_of(run) > stopped_at
        server.start()
        enough.touch()
        assert slurm.wait(job) == "COMPLETED", (home / f"segpipe-{job}.log").read_text()
    finally:
        server.stop()
    assert statuses(home) == {run.name: "FINISHED"}
    assert sent_metrics(home, run) == logged_metrics(run)
    assert list((run / SPOOL).glob("unsent*")) == []


def logged_metrics(run: Path) -> list[tuple[str, int, float]]:
    """What the run has written into its folder: each figure of each step."""
    points = read_history(run)
    return sorted((name, point["step"], value) for point in points for name, value in point.items() if name != "step")


def sent_metrics(home: Path, run: Path) -> list[tuple[str, int, float]]:
    """The same figures as MLflow has them."""
    client = MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
    names = {name for name, _, _ in logged_metrics(run)}
    histories = [client.get_metric_history(read_run_id(run), name) for name in names]
    return sorted((point.key, point.step, point.value) for history in histories for point in history)


def test_a_sweep_is_an_array_whose_failed_and_killed_jobs_are_named(slurm: Slurm, home, words):
    rates = "optimizer.lr=0.001,1e30,0.0001"
    launcher = ["hydra/launcher=slurm", "hydra.launcher.tasks_per_node=2", "hydra.launcher.mem_gb=1"]
    words = [*words, "trainer.max_steps=4", "training.max_skipped_steps=1", "hydra.sweep.dir=sweep", *launcher]
    sweep = Process(as_main, "segpipe", [*words, rates, "--multirun"], cwd=home, log=home / "log")
    try:
        begun = home / "sweep" / ".exit_codes" / "2.json"
        wait_until(lambda: begun.exists() or sweep.returncode is not None, what="the third job")
        job = next((home / "sweep" / ".submitit").glob("*_2")).name
        os.kill(slurm.process_of(slurm.state(job)["JobId"], rank=1), signal.SIGKILL)
    finally:
        code = sweep.wait()
    text = (home / "log").read_text()
    assert code == 2, text
    assert "job 2 (optimizer.lr=0.0001) has no result: FAILED, exit code " in text
    assert text.endswith(
        "2 of 3 jobs failed:\n"
        f"  job 1  exit code 2  {home / 'sweep' / '1'}\n  job 2  was cut off  {home / 'sweep' / '2'}\n"
    )
    found = statuses(home)
    assert {name: found[name] for name in ("0", "1", "sweep")} == {"0": "FINISHED", "1": "FAILED", "sweep": "FINISHED"}
    assert "2 processes on 1 machine by ddp" in (home / "sweep" / "0" / "train.log").read_text()


def test_a_search_goes_on_after_its_sweeper_was_killed_and_what_its_jobs_have_found_is_kept(slurm: Slurm, home, words):
    own = ["hydra/launcher=slurm", "hydra.launcher.mem_gb=1", "hydra/sweeper=optuna", "hydra.sweep.dir=sweep"]
    own += ["hydra.sweeper.trials=3", "hydra.sweeper.parallel=2", "optimizer.lr=tag(log,interval(1e-4,1e-2))"]
    own += ["data.fractions=[0.6,0.2,0.2]", "trainer.max_steps=4", "training.validate_every=2", "--multirun"]
    sweep = Process(as_main, "segpipe", [*words, *own], cwd=home, log=home / "log")
    try:
        begun = home / "sweep" / ".exit_codes" / "1.json"
        wait_until(lambda: begun.exists() or sweep.returncode is not None, what="the second job")
    finally:
        sweep.end(signal.SIGKILL)
    wait_until(lambda: states(home) == ["complete", "complete"], what="the jobs in the queue to end")
    known = [trial.params for trial in read_study(home / "sweep").trials]
    segpipe(*words, *own, "resume=true", cwd=home)
    assert states(home) == ["complete"] * 3
    assert [trial.params for trial in read_study(home / "sweep").trials[:2]] == known
    assert sorted(statuses(home)) == ["0", "1", "2", "sweep"]


def states(home: Path) -> list[str]:
    return [trial.state.name.lower() for trial in read_study(home / "sweep").trials]
