"""What Hydra documents works: sweeps, launchers, logging, flags; and a mistake in them is answered like any other."""

import json
import logging
import os
import signal
import sys
import textwrap
from pathlib import Path

import pytest
from hydra.core.hydra_config import HydraConfig

from segpipe.config.launch import JobResult, launch
from segpipe.errors import ConfigError, DatasetError
from tests.support.processes import Process

HERE = ["hydra.run.dir=run", "hydra.sweep.dir=sweep"]


def note(config, folder: Path, sweep: Path | None) -> JobResult:
    """A job that notes what it was given."""
    facts = {
        "lr": config.optimizer.lr,
        "name": config.optimizer.name,
        "env": os.environ.get("COLOUR"),
        "cwd": str(Path.cwd()),
    }
    (folder / "seen.json").write_text(json.dumps({**facts, "sweep": sweep and sweep.name}))
    logging.getLogger("job").info("noted")
    return JobResult(0, config.optimizer.lr)


def fail_for_sgd(config, folder: Path, sweep: Path | None) -> JobResult:
    if config.optimizer.name == "sgd":
        raise DatasetError("no such data set", hint="another one")
    return note(config, folder, sweep)


def end_in_many_ways(config, folder: Path, sweep: Path | None) -> JobResult:
    if config.optimizer.name == "adamw":
        os.kill(os.getpid(), signal.SIGKILL)
    return fail_for_sgd(config, folder, sweep)._replace(exit_code=2 if config.optimizer.name == "nadam" else 0)


def seen(folder: str) -> dict:
    return json.loads((Path(folder) / "seen.json").read_text())


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run(*words: str, job=note) -> int:
    return launch([*HERE, *words], job, dict)


def shown(capsys, *words: str) -> str:
    assert launch(words, note, dict) == 0
    return capsys.readouterr().out


def refused(*words: str) -> str:
    with pytest.raises(ConfigError) as caught:
        run(*words)
    assert not any(Path().iterdir())
    return str(caught.value)


def test_a_job_gets_configuration_and_folder_and_leaves_a_log(tmp_path, capsys):
    assert run("optimizer=sgd") == 0
    assert seen("run") == {"lr": 0.05, "name": "sgd", "env": None, "cwd": str(tmp_path), "sweep": None}
    assert (tmp_path / "run" / "train.log").read_text().endswith(" INFO noted\n")
    assert capsys.readouterr().out == "noted\n"
    assert not HydraConfig.initialized()


def test_a_sweep_takes_lists_globs_and_ranges_wherever_the_flag_stands():
    assert run("optimizer=glob(adam*,exclude=[adama*,adamw_*])", "-m", "seed=range(0,2)") == 0
    names = [(seen(f"sweep/{number}")["name"], seen(f"sweep/{number}")["sweep"]) for number in range(4)]
    assert names == [("adam", "sweep")] * 2 + [("adamw", "sweep")] * 2
    assert not Path("sweep/4").exists()


def test_a_job_of_a_sweep_that_fails_is_explained_and_the_others_go_on(capsys):
    assert run("optimizer=sgd,adam", "--multirun", job=fail_for_sgd) == 2
    assert seen("sweep/1")["name"] == "adam"
    assert "DatasetError: no such data set\n  try  another one" in capsys.readouterr().out
    assert "another one" in Path("sweep/0/train.log").read_text()


def test_a_failure_of_a_single_job_is_its_exit_code():
    assert run("optimizer=sgd", job=fail_for_sgd) == 2
    assert "no such data set" in Path("run/train.log").read_text()


@pytest.mark.parametrize("words", [["optimizer.lr=1"], ["optimizer.lr=1,2", "-m"]])
def test_a_fault_of_ours_shows_its_traceback(words, capsys):
    def broken(config, folder, sweep):
        raise ZeroDivisionError("a fault")

    if "-m" in words:
        assert run(*words, job=broken) == 1
        assert capsys.readouterr().out.count("ZeroDivisionError: a fault") == 2
    else:
        with pytest.raises(ZeroDivisionError):
            run(*words, job=broken)


def test_every_value_of_a_sweep_is_checked_before_the_first_job():
    text = refused("optimizer=adamw,sgdd", "training.batch_size=4,0", "seed=interval(-1,3)", "seeed=1", "-m")
    assert "4 mistakes" in text
    for expected in ("optimizer=sgdd: must", "training.batch_size=0: ", "seed=-1.0: ", "seeed: no such key"):
        assert expected in text


def test_a_sweep_may_give_what_must_be_given():
    assert run("data=nifti", "data.root=a,b", "-m") == 0
    assert Path("sweep/1/seen.json").exists()


def test_the_jobs_environment_and_folder_are_set_by_hydra(tmp_path):
    assert run("+hydra.job.env_set.COLOUR=blue", "hydra.job.chdir=true", "hydra.output_subdir=.hydra") == 0
    assert seen("run")["env"] == "blue"
    assert seen("run")["cwd"] == str(tmp_path / "run")
    assert (tmp_path / "run" / ".hydra" / "overrides.yaml").exists()


@pytest.mark.parametrize("option", ["default", "disabled", "none", "run", "stdout"])
def test_every_way_of_logging_works(option, capsys):
    assert run(f"hydra/job_logging={option}", "hydra/hydra_logging=disabled") == 0
    assert Path("run/train.log").exists() == (option in ("run", "default"))
    assert ("noted" in capsys.readouterr().out) == (option in ("run", "default", "stdout"))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--cfg", "job", "-p", "optimizer.lr"], "0.001\n"),
        (["--cfg", "job", "--resolve", "-p", "training.validate_every"], "125\n"),
        (["--cfg", "hydra", "-p", "hydra.job.chdir"], "False\n"),
        (["--cfg", "all", "-p", "hydra.job.name"], "train\n"),
        (["data=nifti", "--cfg", "job", "-p", "data"], "root: ???"),
        (["--info", "defaults"], "hydra/job_logging/run"),
        (["--info", "defaults-tree"], "hydra/job_logging: run"),
        (["--info", "plugins"], "BasicLauncher"),
        (["--info", "searchpath"], "pkg://hydra.conf"),
        (["--info"], "one_cycle"),
        (["--help"], "optimizer: adabound, adam"),
        (["--help"], "python -m segpipe +experiment=NAME"),
        (["--hydra-help"], "hydra/launcher: basic"),
        (["-sc", "install=bash"], "COMP_WORDBREAKS"),
    ],
)
def test_what_can_be_shown_is_shown(words, expected, capsys):
    text = shown(capsys, *words)
    assert text == expected if expected.endswith("\n") else expected in text


def test_the_shell_completes_groups_options_and_keys(capsys, monkeypatch):
    line = "segpipe data=nifti optimizer=adam"
    monkeypatch.setenv("COMP_LINE", line)
    monkeypatch.setenv("COMP_POINT", str(len(line)))
    assert shown(capsys, "-sc", "query=bash").split() == [
        f"optimizer={option}" for option in ("adam", "adamax", "adamw", "adamw_nodule", "adamw_ratings")
    ]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--mutirun"], ["unknown flags", "--mutirun", "try    --multirun"]),
        (["--cfg", "jbo"], ["argument --cfg/-c: invalid choice: 'jbo' (choose from 'job', 'hydra', 'all')"]),
        (["--cfg"], ["argument --cfg/-c: expected one argument"]),
        (["--cfg", "job", "-m"], ["Only one of --run, --multirun, --cfg"]),
        (["--resolve"], ["--resolve flag can only be used in conjunction with --cfg"]),
        (["--info", "defaults", "loss=dise"], ["loss=dise: must be one of", "did you mean dice?"]),
        (["--config-name", "mine"], ["--config-name  mine", "known          config", "Cannot find primary config"]),
        (["--config-dir", "nowhere"], ["--config-dir: no such folder"]),
        (["--config-path", "nowhere"], ["Primary config directory not found"]),
        (["--experimental-rerun", "job.pickle"], ["whatever code a pickle holds", "--config-path RUN_FOLDER"]),
        (["hydra/launcher=joblb"], ["hydra/launcher=joblb: must be one of basic"]),
        (["hydra/sweeper=optna", "-m"], ["hydra/sweeper=optna: must be one of basic, optuna; did you mean optuna?"]),
        (["hydra/job_logging=stdoutt"], ["must be one of default, disabled, none, run, stdout; did you mean stdout?"]),
        (["hydra.launcher._target_=my.Launcher", "-m"], ["Invalid plugin 'my.Launcher'"]),
        (["+hydra.launcher.jobs=2", "-m"], ["got an unexpected keyword argument 'jobs'"]),
        (["seed=1,2"], ["several values are a sweep, which needs --multirun"]),
    ],
)
def test_a_mistake_in_a_flag_or_in_hydras_section_is_explained(words, expected):
    text = refused(*words)
    assert all(part in text for part in expected)


def test_a_section_that_is_not_there_cannot_be_shown(capsys):
    assert run("--cfg", "job", "-p", "netwrk") == 2
    assert capsys.readouterr().err == "package 'netwrk' not found in config\n"


def test_a_log_that_cannot_be_opened_is_explained():
    with pytest.raises(ConfigError, match="Unable to configure handler 'console'"):
        run("hydra.job_logging.handlers.console.class=logging.No")


def test_own_options_and_experiments_come_from_a_folder(tmp_path):
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "mine.yaml").write_text("# @package _global_\nname: mine\nseed: 7\n")
    (tmp_path / "mine" / "optimizer").mkdir()
    (tmp_path / "mine" / "optimizer" / "slow.yaml").write_text("defaults: [adam, _self_]\nlr: 1e-6\n")
    assert run("--config-dir", "mine", "+experiment=mine", "optimizer=slow") == 0
    assert seen("run")["lr"] == 1e-6
    with pytest.raises(ConfigError, match="did you mean mine") as caught:
        run("--config-dir", "mine", "+experiment=min")
    assert "python -m segpipe --config-dir=mine +experiment=mine --cfg job" in str(caught.value)


def test_a_mistake_inside_an_own_experiment_names_its_file(tmp_path):
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "mine.yaml").write_text(
        "# @package _global_\ndefaults: [override /optimiser: adam]\n"
    )
    with pytest.raises(ConfigError, match="In 'experiment/mine': Could not override 'optimiser'"):
        run("--config-dir", "mine", "+experiment=mine")


def test_an_own_primary_configuration_builds_on_ours(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "primary.yaml").write_text("defaults: [config, {override optimizer: sgd}, _self_]\nseed: 3\n")
    assert run("--config-dir", "mine", "--config-name", "primary") == 0
    assert seen("run")["name"] == "sgd"


def test_a_finished_run_is_repeated_from_its_configuration(tmp_path, capsys):
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "config.yaml").write_text(shown(capsys, "optimizer=sgd", "--cfg", "job", "--resolve"))
    assert run("--config-path", "old", "--config-name", "config") == 0
    assert seen("run")["name"] == "sgd"


PLUGINS = {
    "backwards.py": """
        from hydra._internal.core_plugins.basic_launcher import BasicLauncher
        from hydra.core.config_store import ConfigStore

        class BackwardsLauncher(BasicLauncher):
            def launch(self, job_overrides, initial_job_idx):
                print("backwards")
                return super().launch(list(reversed(job_overrides)), initial_job_idx)

        node = {"_target_": "hydra_plugins.ours.backwards.BackwardsLauncher"}
        ConfigStore.instance().store(group="hydra/launcher", name="backwards", node=node)
        """,
    "forks.py": """
        import os
        from hydra._internal.core_plugins.basic_launcher import BasicLauncher
        from hydra.core.config_store import ConfigStore
        from hydra.core.utils import JobReturn, JobStatus

        class ForkingLauncher(BasicLauncher):
            def launch(self, job_overrides, initial_job_idx):
                for number, words in enumerate(job_overrides, start=initial_job_idx):
                    child = os.fork()
                    if not child:
                        super().launch([words], number)
                        os._exit(0)
                    os.waitpid(child, 0)
                return [JobReturn(status=JobStatus.COMPLETED) for _ in job_overrides]

        ConfigStore.instance().store(group="hydra/launcher", name="forks",
                                     node={"_target_": "hydra_plugins.ours.forks.ForkingLauncher"})
        """,
    "smallest.py": """
        from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
        from hydra.core.config_store import ConfigStore

        class SmallestSweeper(BasicSweeper):
            def sweep(self, arguments):
                (jobs,) = super().sweep(arguments)
                print("smallest", min(job.return_value for job in jobs))

        node = {"_target_": "hydra_plugins.ours.smallest.SmallestSweeper", "max_batch_size": None}
        ConfigStore.instance().store(group="hydra/sweeper", name="smallest", node=node)
        """,
}


@pytest.fixture
def sweep_with_plugins(tmp_path):
    """Runs a sweep in a process of its own, in which Hydra finds the plug-ins; returns exit code and what it wrote."""
    package = tmp_path / "site" / "hydra_plugins" / "ours"
    package.mkdir(parents=True)
    for name, code in {"__init__.py": "", **PLUGINS}.items():
        (package / name).write_text(textwrap.dedent(code))

    def sweep(*words: str, job=note) -> tuple[int, str]:
        log = tmp_path / "log"
        log.unlink(missing_ok=True)
        process = Process(launch_with_plugins, tmp_path / "site", words, job, cwd=tmp_path, log=log)
        return process.wait(), log.read_text()

    return sweep


def launch_with_plugins(site: Path, words: tuple[str, ...], job) -> None:
    sys.path.insert(0, str(site))
    sys.exit(launch([*HERE, *words], job, dict, choose_folder=wanted))


def wanted(request) -> Path:
    request.wanted.mkdir(exist_ok=True)
    return request.wanted


def test_the_exit_codes_of_jobs_that_ran_in_other_processes_are_not_lost(sweep_with_plugins, tmp_path):
    words = ("hydra/launcher=forks", "optimizer=adam,sgd,adamw,nadam", "-m")
    code, text = sweep_with_plugins(*words, job=end_in_many_ways)
    assert code == 2
    folder = tmp_path / "sweep"
    assert text.endswith(
        "3 of 4 jobs failed:\n"
        f"  job 1  exit code 2  {folder}/1\n  job 2  was cut off  {folder}/2\n  job 3  exit code 2  {folder}/3\n"
    )
    assert sweep_with_plugins(*words)[0] == 0


def test_a_job_that_was_done_before_keeps_its_exit_code(capfd):
    def done_before(config, folder, sweep):
        return JobResult(None)

    assert run("optimizer=sgd,adam", "-m", job=lambda *given: JobResult(2)) == 2
    assert run("optimizer=sgd,adam", "-m", job=done_before) == 2
    assert capfd.readouterr().err.count("2 of 2 jobs failed:") == 2


def test_a_launcher_for_slurm_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.delitem(sys.modules, "segpipe.config.sweeps.slurm_launcher", raising=False)
    monkeypatch.setitem(sys.modules, "hydra_plugins.hydra_submitit_launcher.submitit_launcher", None)
    text = refused("hydra/launcher=slurm", "seed=0,1", "-m")
    assert "hydra/launcher=slurm needs Hydra's plug-in for submitit" in text
    assert "pip install 'segpipe[slurm]'" in text


def test_launchers_and_sweepers_of_plug_ins_are_found_listed_and_run(sweep_with_plugins):
    plugins = ("hydra/launcher=backwards", "hydra/sweeper=smallest")
    code, text = sweep_with_plugins(*plugins, "optimizer.lr=0.5,0.25", "-m")
    assert code == 0, text
    assert "backwards\n" in text
    assert text.endswith("smallest 0.25\n")
    assert seen("sweep/0")["lr"] == 0.25
    code, text = sweep_with_plugins("hydra/launcher=backward", "-m")
    assert code != 0
    assert "did you mean backwards?" in text
