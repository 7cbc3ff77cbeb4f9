"""Every mistake on a command line is found before any work, with its path, what is allowed and the nearest match."""

import shlex

import pytest

from segpipe.cli.train import registries
from segpipe.config.check import settings_of
from segpipe.config.compose import compose
from segpipe.config.folder import conf_folder, experiments
from segpipe.errors import ConfigError


def refused(*words: str) -> str:
    with pytest.raises(ConfigError) as caught:
        compose(words, registries)
    return str(caught.value)


def mistakes(*words: str) -> list[str]:
    """The mistakes without number and hint."""
    lines = [line.split(maxsplit=1) for line in refused(*words).splitlines()]
    return [text for number, text in lines if number.isdigit()]


@pytest.mark.parametrize("optimizer", sorted(file.stem for file in (conf_folder() / "optimizer").glob("*.yaml")))
def test_the_learning_rate_is_one_key_for_all_optimizers(optimizer):
    settings = settings_of(compose([f"optimizer={optimizer}", "optimizer.lr=3e-4"], registries), registries())
    assert settings.optimizer["lr"] == 3e-4


def test_all_mistakes_are_reported_at_once():
    found = mistakes(
        *(
            "+experiment=lung_nodul",
            "optimzer.lr=1",
            "data=nifi",
            "data.root=x",
            "training.batch_size=0",
            "trainer.precision=bf16",
        ),
        *("foo", "hydra.run.dri=x", "hydra/launcher=basc", "recipe.window_hu=[400,-1000]", "loss=dise"),
    )
    assert len(found) == 10
    for expected in (
        "+experiment=lung_nodul: must be one of continue, lung_nodule, lung_nodule_ratings, lung_nodule_voi, "
        "lung_tumour, optimizer_study, pretrain_encoder, regularisation_study; did you mean lung_nodule?",
        "optimzer.lr: no such key; did you mean optimizer.lr?",
        "data=nifi: must be one of implanted, lidc_sample, manifest, nifti, nifti_nodules, phantom; "
        "did you mean nifti?",
        "training.batch_size=0: input should be greater than 0",
        "trainer.precision=bf16: input should be 'auto', '32-true', 'bf16-mixed' or '16-mixed'; did you mean"
        " bf16-mixed?",
        "foo: not of the form key=value",
        "hydra.run.dri: no such key; allowed under hydra.run: dir; did you mean hydra.run.dir?; +hydra.run.dri=x"
        " adds it",
        "hydra/launcher=basc: must be one of basic, slurm, submitit_local, submitit_slurm; did you mean basic?",
    ):
        assert expected in found


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["network.chanels=[8,16]"], "did you mean network.channels?"),
        (["network.channels=[0,16]"], "network.channels.0=0: input should be greater than or equal to 1"),
        (["optimizer.lr=-1"], "optimizer.lr=-1: input should be greater than 0"),
        (["data=nifti"], "data.root: must be given, e.g. data.root=/data/my_scans"),
        (["experiment=lung_nodule"], "has no default to replace; write +experiment=lung_nodule"),
        (["+unknown.key=3"], "unknown: no such key"),
        (["recipe.spacing_mm=[1,2]"], "recipe.spacing_mm.2: must be given"),
        (["data.fold=-1"], "data.fold=-1: input should be greater than or equal to 0, or input should be 'all'"),
        (["trainer.strategy=dpp"], "trainer.strategy=dpp: input should be 'auto', 'ddp' or 'fsdp'; did you mean ddp?"),
        (["+data.schedule.max_step=1"], "data.schedule.max_step: no such key; allowed: max_steps, validate_every; did"),
        (["trainer.max_steps=many"], "trainer.max_steps=many: input should be a valid integer"),
        (["~optimizer.bettas"], "optimizer.bettas: no such key; allowed under optimizer: "),
        (["~network"], "network: must be given"),
        (["+optimizer.lr=1"], "An item is already at 'optimizer.lr'"),
        (["++experiment=lung_nodule"], "force-add of config groups is not supported"),
        (["hydra/lancher=basic"], "did you mean hydra/launcher?"),
        (["hydra.job.env_set.A=1"], "; +hydra.job.env_set.A=1 adds it"),
        (["hydra.job.chdir=maybe"], "hydra.job.chdir=maybe: Value 'maybe' is not a valid bool"),
        (["hydra.job.env_copy=[NOT_THERE]"], "hydra.job.env_copy=[NOT_THERE]: KeyError: 'NOT_THERE'"),
        (["tracking.run_name=${oc.env:NOT_THERE}"], "Environment variable 'NOT_THERE' not found"),
        (["optimizer.lr=range(1,3)"], "optimizer.lr=range(1,3): several values are a sweep, which needs --multirun"),
        (["=3"], "=3: not of the form key=value"),
    ],
)
def test_a_mistake_is_explained(words, expected):
    (found,) = mistakes(*words)
    assert expected in found


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["+experiment=lung_tumour", "training.batch_size=0"], ["data.root: must be given", "training.batch_size=0"]),
        (["experiment=lung_tumor"], ["write +experiment=lung_tumor", "did you mean lung_tumour?", "data.root: must"]),
        (["optimizer@second=sgd"], ["write +optimizer@second=sgd", "second: no such key"]),
        (["network=dynunt", "network.deep_supervision=-1"], ["did you mean dynunet?", "network.deep_supervision=-1"]),
    ],
)
def test_a_mistake_hides_no_other_one(words, expected):
    found = mistakes(*words)
    assert len(found) == len(expected)
    assert all(part in line for part, line in zip(expected, found, strict=True))


@pytest.mark.parametrize(
    "value", ["/data/a=b,c(1)", "/data/it's", 'a "b" [c', "(x", "a=b\\", "{", "/data/Müller & x=1"]
)
def test_a_text_that_needs_quotes_is_shown_with_them_and_works_when_pasted(value):
    (found,) = mistakes("data=nifti", f"data.root={value}")
    (pasted,) = shlex.split(found.rpartition("; write ")[2])
    assert compose(["data=nifti", pasted], registries).data.root == value


def test_several_values_are_a_sweep_a_list_or_a_text():
    (found,) = mistakes("tracking.run_name=a,b")
    (pasted,) = shlex.split(found.rpartition(" a text ")[2])
    assert "needs --multirun; a list is tracking.run_name=[a,b], a text" in found
    assert compose([pasted], registries).tracking.run_name == "a,b"


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["seeed=1"], ""),
        (["+experiment=lung_tumour", "seeed=1"], "+experiment=lung_tumour "),
        (["experiment=lung_tumor", "network=unett"], "network=unet +experiment=lung_tumour "),
        (["+experiment=lung_nodule", "loss=dice,focal", "a=1"], "+experiment=lung_nodule loss=dice "),
        (["+experiment=zzzz"], ""),
    ],
)
def test_the_command_that_shows_all_keys_is_of_what_the_user_chose(words, shown):
    hint = refused(*words).splitlines()[-1]
    known, meant = sorted(hint.split()), f"try python -m segpipe {shown}--cfg job shows every key and its value"
    assert known == sorted(meant.split())


@pytest.mark.parametrize("word", ["optimizer.lr=2", "++optimizer.lr=2", "optimizer={lr: 2}", "optimizer.lr=int(2.7)"])
def test_the_grammar_of_hydra_is_taken(word):
    assert compose([word], registries).optimizer.lr == 2


def test_every_experiment_is_described():
    assert all(experiments().values())
