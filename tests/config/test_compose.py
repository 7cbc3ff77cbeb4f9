"""Every mistake on a command line is found before any work, with its path, what is allowed and the nearest match."""

import itertools

import pytest

from segpipe.cli.train import registries
from segpipe.config.compose import check_command_line, read_command_line, settings_of
from segpipe.config.folder import conf_folder, experiments
from segpipe.config.plan import expand_plans
from segpipe.errors import ConfigError

GROUPS = ["augmentation", "loss", "network", "optimizer", "recipe", "scheduler", "tracking", "trainer"]


def compose(*words: str):
    return check_command_line(read_command_line(words), registries())


def refused(*words: str) -> str:
    with pytest.raises(ConfigError) as caught:
        compose(*words)
    return str(caught.value)


def options(group: str) -> list[str]:
    return sorted(file.stem for file in (conf_folder() / group).glob("*.yaml"))


@pytest.mark.parametrize("experiment", experiments())
def test_every_experiment_composes_to_valid_settings(experiment):
    config = compose(f"+experiment={experiment}", "data=phantom" if experiment == "lung_nodule" else "data.root=scans")
    assert settings_of(config, registries()).name == experiment


@pytest.mark.parametrize(("group", "option"), [(g, o) for g in GROUPS for o in options(g)])
def test_every_option_of_every_group_is_valid(group, option):
    settings = settings_of(compose(f"{group}={option}"), registries())
    assert settings.model_dump()[group] is not None


@pytest.mark.parametrize("optimizer", options("optimizer"))
def test_the_learning_rate_is_one_key_for_all_optimizers(optimizer):
    settings = settings_of(compose(f"optimizer={optimizer}", "optimizer.lr=3e-4"), registries())
    assert settings.optimizer["lr"] == 3e-4


def test_all_mistakes_are_told_at_once():
    text = refused(
        "+experiment=lung_nodul", "optimzer.lr=1", "data=nifi", "training.batch_size=0", "trainer.precision=bf16", "foo"
    )
    for expected in (
        "6 mistakes",
        "did you mean lung_nodule?",
        "optimzer.lr: no such key; did you mean optimizer.lr?",
        "data=nifi: must be one of manifest, nifti, nifti_nodules, phantom; did you mean nifti?",
        "training.batch_size=0: input should be greater than 0",
        "did you mean bf16-mixed?",
        "foo: not of the form key=value",
    ):
        assert expected in text


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["network.chanels=[8,16]"], "did you mean network.channels?"),
        (["network.channels=[0,16]"], "network.channels.0=0: input should be greater than or equal to 1"),
        (["optimizer.lr=-1"], "optimizer.lr=-1: input should be greater than 0"),
        (["loss=dise"], "loss=dise: must be one of"),
        (["data=nifti"], "data.root: must be given"),
        (["experiment=lung_nodule"], "write +experiment=lung_nodule"),
        (["+unknown.key=3"], "unknown: no such key"),
        (["recipe.spacing_mm=[1,2]"], "recipe.spacing_mm.2: must be given"),
        (["+data.shuffle=1"], "no such key; allowed: fold, folds, split_seed,"),
        (["data.fold=-1"], "fold=-1: input should be greater than or equal to 0"),
        (["trainer.max_steps=many"], "trainer.max_steps=many: input should be a valid integer"),
    ],
)
def test_a_mistake_is_explained(words, expected):
    assert expected in refused(*words)


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["seeed=1"], ""),
        (["+experiment=lung_tumour", "seeed=1"], "+experiment=lung_tumour "),
        (["experiment=lung_tumor", "network=unett"], "+experiment=lung_tumour network=unet "),
        (["+experiment=lung_nodule", "loss=dice,focal", "a=1"], "+experiment=lung_nodule loss=dice "),
        (["+experiment=zzzz"], ""),
    ],
)
def test_the_command_that_shows_all_keys_is_of_what_the_user_chose(words, shown):
    hint = refused(*words).splitlines()[-1]
    assert hint.split(maxsplit=1) == ["try", f"python -m segpipe {shown}--cfg job   shows every key and its value"]


def test_that_command_works_also_where_something_must_be_given():
    assert "data.root: must be given" in refused("+experiment=lung_tumour")
    assert compose("+experiment=lung_tumour", "--cfg", "job").name == "lung_tumour"
    assert "loss=dise: must be one of" in refused("+experiment=lung_tumour", "--cfg", "job", "loss=dise")


def test_a_sweep_is_checked_by_its_first_choice_and_all_its_group_options():
    compose("optimizer=adamw,sgd", "optimizer.lr=1e-3,1e-4", "-m")
    assert "optimizer=sgdd" in refused("optimizer=adamw,sgdd", "-m")


def test_own_experiments_come_from_a_folder(tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text("# @package _global_\nname: mine\nseed: 7\n")
    config = compose("--config-dir", str(tmp_path), "+experiment=mine")
    assert (config.name, config.seed) == ("mine", 7)
    assert "no such folder" in refused("--config-dir", str(tmp_path / "missing"), "+experiment=mine")


def test_the_short_schedule_belongs_to_the_phantom():
    phantom = compose("+experiment=lung_nodule")
    real = compose("+experiment=lung_nodule", "data=nifti", "data.root=scans")
    assert phantom.trainer.max_steps < 2000 < real.trainer.max_steps


def test_a_plan_is_a_file_of_overrides_that_the_command_line_beats(tmp_path):
    plan = tmp_path / "plan.yaml"
    plan.write_text("recipe:\n  spacing_mm: [0.8, 0.8, 2.0]\ntraining:\n  batch_size: 3\n  ema: null\n")
    words = expand_plans(["+experiment=lung_nodule", f"+plan={plan}", "training.batch_size=5"])
    assert words[0] == "+experiment=lung_nodule"
    config = compose(*words)
    assert list(config.recipe.spacing_mm) == [0.8, 0.8, 2.0]
    assert (config.training.batch_size, config.training.ema) == (5, None)


@pytest.mark.parametrize(("content", "expected"), [(None, "cannot be read"), ("- a\n- b\n", "must be a mapping")])
def test_a_bad_plan_is_refused(tmp_path, content, expected):
    plan = tmp_path / "plan.yaml"
    if content:
        plan.write_text(content)
    with pytest.raises(ConfigError, match=expected):
        expand_plans([f"+plan={plan}"])


def test_flags_and_overrides_are_told_apart():
    line = read_command_line(["-m", "a=1", "--config-dir=x", "--cfg", "job", "+b=2"])
    assert line.overrides == ("a=1", "+b=2")
    assert line.flags == ("-m", "--cfg", "job")
    assert [str(folder) for folder in line.config_dirs] == ["x"]


def test_parts_combine_freely():
    for network, optimizer in itertools.product(("unet", "dynunet"), ("adamw", "sgd")):
        compose(f"network={network}", f"optimizer={optimizer}", "loss=focal", "scheduler=plateau")
