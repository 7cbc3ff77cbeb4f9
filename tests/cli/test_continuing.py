"""`+experiment=continue init.from=MODEL`: what it composes to, and what it refuses before any work."""

import json
import logging
from pathlib import Path

import pytest

from segpipe.__main__ import main
from segpipe.cli.continuing import describe_continuing, describe_decision, prepare_continuing
from segpipe.cli.train import registries
from segpipe.config.check import checked, plain, settings_of
from segpipe.config.compose import compose
from segpipe.errors import ConfigError, ModelError
from segpipe.training.transfer.parent import how_trained
from tests.samples.small_models import FACTS, UNET, write_small

TRAINED = [
    "+experiment=lung_nodule", "data.fold=1", "data.split_seed=7", "optimizer=adamw", "optimizer.lr=0.003",
    "trainer.max_steps=400", "training.validate_every=100", "training.batch_size=3", "loss=focal",
]  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """A run with a model folder that says how it was trained."""
    from tests.samples.small_models import without_onnx_export

    folder = tmp_path_factory.mktemp("runs") / "first"
    told = how_trained(plain(compose(TRAINED, registries)))
    with without_onnx_export():
        write_small(folder / "model", about={**FACTS, "trained_by": told})
    return folder / "model"


def composed(*words: object) -> dict:
    """The checked configuration of a training that goes on, as plain data."""
    own = ["+experiment=continue", "data.root=/data/new", *map(str, words)]
    prepare_continuing(own)
    config = compose(own, registries)
    settings_of(config, registries())
    return plain(config)


def test_the_configuration_is_that_of_the_model_but_for_rate_and_length(model):
    before, config = plain(compose(TRAINED, registries)), composed(f"init.from={model}")
    assert (config["name"], config["init"]["from"], config["init"]["continues"]) == ("continued", str(model), True)
    assert config["network"] == UNET
    assert (config["recipe"]["patch"], config["recipe"]["spacing_mm"]) == ([32, 32, 16], [1.0, 1.0, 1.5])
    for section in ("sampling", "augmentation", "loss", "scheduler", "detector", "evaluation"):
        assert config[section] == before[section]
    assert config["optimizer"] == {**before["optimizer"], "lr": 0.001}
    assert config["training"] == {**before["training"], "validate_every": 25}
    assert config["trainer"]["max_steps"] == 100
    data = {"name": "manifest", "root": "/data/new", "fold": 1, "split_seed": 7, "rehearsal": None}
    assert {key: config["data"][key] for key in data} == data
    assert (config["finetune"]["name"], config["privacy"]["name"]) == ("full", "none")


def test_the_command_line_has_the_last_word(model):
    given = ["network=unet_small", "loss=dice", "optimizer.lr=0.01", "recipe.lung_crop=true", "data.fold=null"]
    config = composed(f"init.from='{model}'", *given, "trainer.max_steps=10", "data.rehearsal=/data/old", "data=nifti")
    assert config["network"]["channels"] != UNET["channels"]
    assert (config["loss"]["name"], config["optimizer"]["lr"], config["recipe"]["lung_crop"]) == ("dice", 0.01, True)
    assert (config["data"]["name"], config["data"]["fold"], config["data"]["rehearsal"]) == ("nifti", None, "/data/old")
    assert (config["trainer"]["max_steps"], config["training"]["validate_every"]) == (10, 25)


def test_another_optimizer_brings_its_own_rate(model):
    assert composed(f"init.from={model}", "optimizer=soap")["optimizer"]["lr"] == 3e-3


def test_a_shipped_model_that_does_not_say_how_it_was_trained_goes_by_its_kind():
    voi = plain(compose(["+experiment=lung_nodule_voi", "data.root=x"], registries))
    config = composed("init.from=lidc-voi")
    for section in ("recipe", "network", "sampling", "augmentation", "loss", "scheduler", "evaluation"):
        assert config[section] == voi[section]
    assert (config["optimizer"]["lr"], config["trainer"]["max_steps"]) == (0.001, 600)  # of 0.003 and 2400


def test_what_it_goes_on_with_must_be_one_model():
    words = ["+experiment=continue", "data.root=/data/new"]
    for more in ([], ["init.from=null"], ["init.from=one,two"], ["init.from=[one]"], ["init.from=(("]):
        with pytest.raises(ConfigError, match="must say which one model"):
            prepare_continuing([*words, *more])


def test_other_command_lines_look_for_no_model():
    prepare_continuing(["+experiment=lung_nodule", "init.from=/nowhere", "+continue=1"])
    assert compose(["+experiment=lung_nodule"], dict).name == "lung_nodule"


def test_a_mistake_ends_the_command_before_any_work(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["+experiment=continue", "data.root=/data/new"]) == 2
    assert "init.from=MODEL data.root=NEW" in capsys.readouterr().err
    assert main(["+experiment=continue", "init.from=nowhere", "data.root=/data/new"]) == 2
    assert "which says how it was trained" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_part_from_elsewhere_is_refused_unless_the_command_line_says_it(tmp_path, monkeypatch):
    from tests.samples.small_models import without_onnx_export

    told = {**how_trained(plain(compose(TRAINED, registries))), "loss": {"_target_": "touched.now"}}
    (tmp_path / "touched.py").write_text(f"open({str(tmp_path / 'was_run')!r}, 'w')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with without_onnx_export():
        write_small(tmp_path / "model", about={**FACTS, "trained_by": told})
    with pytest.raises(ModelError, match="nothing that it names is imported") as error:
        composed(f"init.from={tmp_path / 'model'}")
    assert error.value.facts["loss"] == "touched.now comes from elsewhere"
    assert error.value.hint.startswith("say yourself what it shall be: loss=OPTION")
    assert composed(f"init.from={tmp_path / 'model'}", "loss=dice")["loss"]["name"] == "dice"
    words = ["loss._target_=monai.losses.FocalLoss", "loss.to_onehot_y=true"]
    own = composed(f"init.from={tmp_path / 'model'}", *words)["loss"]
    assert own == {"_target_": "monai.losses.FocalLoss", "to_onehot_y": True}
    assert not (tmp_path / "was_run").exists()


def test_a_resumed_run_needs_the_model_no_more(model, tmp_path, caplog):
    words = ["+experiment=continue", "data.root=/data/new", f"init.from={model}", "resume=true"]
    prepare_continuing(words)
    config = plain(compose(words, registries))
    config["init"]["from"] = "/no/more"
    (tmp_path / "init.json").write_text("{}")
    with caplog.at_level(logging.INFO):
        describe_continuing(checked(config, registries()), config, tmp_path)
        with pytest.raises(ModelError, match="which says how it was trained"):
            describe_continuing(checked(config, registries()), config, tmp_path / "new")
    assert caplog.messages == []


def test_what_is_the_models_own_is_logged(model, tmp_path, caplog):
    words = ["+experiment=continue", "data.root=/data/new", f"init.from={model}", "loss=dice"]
    prepare_continuing(words)
    config = compose(words, registries)
    with caplog.at_level(logging.INFO):
        describe_continuing(settings_of(config, registries()), plain(config), tmp_path)
    assert caplog.messages == [
        "goes on with first, as it was trained: recipe, network, sampling, augmentation, mixing, optimizer, "
        "scheduler, training, detector, evaluation",
        "  otherwise: loss",
        "  learning rate 0.001 (there 0.003), 100 steps (there 400)",
    ]


def test_the_commands_of_the_decision_are_logged(model, tmp_path, caplog):
    old, run = tmp_path / "old data", tmp_path / "run"
    old.mkdir()
    (old / "manifest.json").write_text(json.dumps({}))
    words = ["+experiment=continue", "data.root=/data/new", f"init.from={model.parent}", f"data.rehearsal='{old}'"]
    prepare_continuing(words)
    with caplog.at_level(logging.INFO):
        describe_decision(settings_of(compose(words, registries), registries()), run)
        describe_decision(settings_of(compose(["+experiment=lung_nodule"], registries), registries()), run)
    _, on_new, on_old = caplog.messages
    assert on_new == (
        f"  python -m segpipe evaluate --model {model} --data /data/new --output {run}/comparison/parent_on_new"
        f" && python -m segpipe compare {run}/comparison/parent_on_new {run} --output {run}/comparison/new"
    )
    assert on_old == (
        f"  python -m segpipe evaluate --model {model} --data '{old}' --output {run}/comparison/parent_on_old"
        f" && python -m segpipe evaluate --model {run}/model --data '{old}' --output {run}/comparison/child_on_old"
        f" && python -m segpipe compare {run}/comparison/parent_on_old {run}/comparison/child_on_old"
        f" --output {run}/comparison/old"
    )
