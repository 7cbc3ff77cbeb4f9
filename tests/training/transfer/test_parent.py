"""What a training that goes on with a model takes of it: plain values of segpipe's own parts, and nothing else."""

import json
from pathlib import Path

import pytest
import torch
import yaml

from segpipe.cli.train import registries
from segpipe.config.check import plain
from segpipe.config.compose import compose
from segpipe.errors import ModelError
from segpipe.export.writing import checksum
from segpipe.training.checkpoints.files import write_checkpoint
from segpipe.training.transfer.parent import SECTIONS, how_trained, read_parent
from tests.samples.small_models import FACTS, SCAN, UNET, VOI, network_of, write_small

pytestmark = pytest.mark.usefixtures("without_onnx")
WORDS = ["+experiment=lung_nodule", "data=nifti", "data.root=/somewhere/else", "data.fold=2", "trainer.max_steps=100"]
TOLD = ["training.validate_every=30", "optimizer=adamw", "optimizer.lr=0.003"]


def config_of(*words: str) -> dict:
    return plain(compose([*WORDS, *TOLD, *words], registries))


def model_in(folder: Path, spec=UNET, recipe=SCAN, **told) -> Path:
    """A model folder that says how it was trained, but for what is changed in it."""
    trained_by = {**how_trained(config_of()), **told}
    write_small(folder / "model", spec, recipe, about={**FACTS, "trained_by": trained_by})
    return folder / "model"


def run_in(folder: Path, **changes) -> Path:
    """A run that has got to a checkpoint."""
    config = {**config_of(), "recipe": SCAN.to_dict(), "network": UNET, **changes}
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    state = {f"network.{key}": value for key, value in network_of(UNET).state_dict().items()}
    write_checkpoint({"state_dict": state, "segpipe": {}}, folder / "checkpoints" / "last.ckpt")
    return folder


def test_a_model_says_how_it_was_trained_and_nothing_of_where():
    told = how_trained(config_of())
    assert (told["optimizer"]["lr"], told["steps"], told["continued"]) == (0.003, 100, False)
    assert told["split"] == {"fold": 2, "folds": 5, "split_seed": 0, "fractions": [0.7, 0.1, 0.2]}
    assert not {"data", "tracking", "trainer", "init", "callbacks", "module"} & set(told)
    assert "somewhere" not in json.dumps(told)


def test_a_model_folder_gives_its_network_its_recipe_and_how_it_was_trained(tmp_path):
    parent = read_parent(str(model_in(tmp_path / "mine")))
    assert (parent.name, parent.steps, parent.unfit, parent.lacking) == ("mine", 100, {}, [])
    assert set(parent.sections) == set(SECTIONS)
    assert parent.sections["network"] == UNET
    assert parent.sections["recipe"]["patch"] == [32, 32, 16]
    assert parent.sections["recipe"]["regions"] is None  # so that it can be overridden
    assert parent.sections["sampling"] == config_of()["sampling"]
    assert parent.split == {"fold": 2, "folds": 5, "split_seed": 0, "fractions": [0.7, 0.1, 0.2]}


def test_it_goes_on_at_a_third_of_the_rate_for_a_quarter_of_the_steps_but_only_once(tmp_path):
    once = read_parent(str(model_in(tmp_path / "first")))
    assert once.gentle_sections()["optimizer"] == {**once.sections["optimizer"], "lr": 0.001}
    assert once.short_schedule() == {"max_steps": 25, "validate_every": 8}  # 30 / 4, to the even number
    twice = read_parent(str(model_in(tmp_path / "second", continued=True)))
    assert twice.gentle_sections() == twice.sections
    assert twice.short_schedule() == {"max_steps": 100, "validate_every": 30}


def test_of_an_ensemble_it_is_the_first_network_and_the_fold_that_it_held_out(tmp_path):
    spec = {"name": "ensemble", "members": 2, "member": UNET, "exclusive": True}
    parent = read_parent(str(model_in(tmp_path, spec, split={"fold": "all", "folds": 3})))
    assert parent.sections["network"] == UNET
    assert parent.split == {"fold": 0, "folds": 3}


def test_a_model_of_an_earlier_version_is_told_by_the_run_around_it_or_goes_by_its_kind(tmp_path):
    write_small(tmp_path / "run" / "model", recipe=VOI)
    alone = read_parent(str(tmp_path / "run"))
    assert (set(alone.sections), alone.steps, alone.like) == ({"recipe", "network"}, None, "lung_nodule_voi")
    told = how_trained(config_of())
    assert alone.completed(told).sections["loss"] == told["loss"]
    assert alone.completed(told).short_schedule()["max_steps"] == 25
    (tmp_path / "run" / "config.yaml").write_text(yaml.safe_dump(config_of()))
    for named in (tmp_path / "run", tmp_path / "run" / "model"):
        assert (read_parent(str(named)).lacking, read_parent(str(named)).steps) == ([], 100)


def test_a_run_that_has_no_model_yet_gives_the_same(tmp_path):
    run = run_in(tmp_path / "run")
    for named in (run, run / "checkpoints" / "last.ckpt"):
        parent = read_parent(str(named))
        assert (parent.name, parent.steps, parent.unfit, parent.lacking) == ("run", 100, {}, [])
        assert parent.sections["network"] == UNET


@pytest.mark.parametrize("kind", ["pretraining", "ratings", "study"])
def test_a_run_that_has_not_learnt_to_segment_is_refused(tmp_path, kind):
    with pytest.raises(ModelError, match="goes on with a model that segments") as error:
        read_parent(str(run_in(tmp_path, **{kind: {"name": "any"}})))
    assert error.value.facts["found"] == f"a run of {kind}"


def test_weights_alone_do_not_say_how_they_were_trained(tmp_path):
    torch.save({"conv.weight": torch.ones(1)}, tmp_path / "weights.pt")
    for named in (tmp_path / "weights.pt", tmp_path, "astra"):
        with pytest.raises(ModelError, match="which says how it was trained"):
            read_parent(str(named))


@pytest.mark.parametrize(
    ("section", "content", "why"),
    [
        ("loss", {"_target_": "os.system", "command": "true"}, "os.system comes from elsewhere"),
        ("loss", {"name": "dice", "inner": [{"_target_": "os.system"}]}, "dice comes from elsewhere"),
        ("optimizer", {"name": "of_a_plug_in", "lr": 0.1}, "of_a_plug_in comes from elsewhere"),
        ("scheduler", {"name": "cosine", "warmup": "${oc.env:HOME}"}, "must have plain values"),
        ("scheduler", {"name": "cosine", "${oc.env:HOME}": 1}, "must have plain values"),
        ("training", {"batch_size": "???"}, "must have plain values"),
        ("training", {"defaults": ["/loss: dice"]}, "must have plain values"),
        ("sampling", {"shift": {"_target_": "os.system"}}, "os.system comes from elsewhere"),
        ("detector", ["two_stage"], "must have plain values"),
        ("augmentation", {"a": {"_target_": "monai.transforms.Zoomd"}}, "monai.transforms.Zoomd comes from elsewhere"),
        ("augmentation", {"a": {"name": "of_a_plug_in"}}, "a comes from elsewhere"),
        ("augmentation", {"a": "os.system"}, "a comes from elsewhere"),
    ],
)  # fmt: skip
def test_what_is_not_segpipes_own_is_not_taken(tmp_path, section, content, why):
    for named in (model_in(tmp_path / "folder", **{section: content}), run_in(tmp_path / "run", **{section: content})):
        parent = read_parent(str(named))
        assert parent.unfit == {section: why}
        assert section not in {*parent.sections, *parent.lacking}


@pytest.mark.parametrize(
    ("network", "why"),
    [
        ({"_target_": "os.system", "command": "true"}, "os.system comes from elsewhere"),
        ({**UNET, "_target_": "os.system"}, "os.system comes from elsewhere"),
        ({"name": "of_a_plug_in"}, "of_a_plug_in comes from elsewhere"),
        ({"name": "ensemble"}, "ensemble comes from elsewhere"),
        ({**UNET, "act": "${oc.env:HOME}"}, "must have plain values"),
    ],
)
def test_no_network_from_elsewhere_is_taken(tmp_path, network, why):
    assert read_parent(str(run_in(tmp_path, network=network))).unfit == {"network": why}


def test_every_shipped_augmentation_is_taken(tmp_path):
    options = ("light", "light_voi", "monai", "none", "robust", "robust_voi", "strong")
    for option in options:
        augmentation = config_of(f"augmentation={option}")["augmentation"]
        parent = read_parent(str(model_in(tmp_path / option, augmentation=augmentation)))
        assert (parent.unfit, parent.sections["augmentation"]) == ({}, augmentation)


def test_a_network_that_is_larger_than_its_weights_is_not_built(tmp_path):
    folder = model_in(tmp_path)
    index = json.loads((folder / "segpipe.json").read_text())
    index["network"]["channels"] = [4, 4096]  # 110 592 000 bytes of one convolution
    index["checksum"] = checksum(index)
    (folder / "segpipe.json").write_text(json.dumps(index))
    with pytest.raises(ModelError, match="larger than its weights"):
        read_parent(str(folder))


def test_what_is_as_it_was_and_what_is_not_is_said(tmp_path):
    parent = read_parent(str(model_in(tmp_path / "mine")))
    config = {**config_of("loss=focal", "optimizer.lr=0.001"), "recipe": parent.sections["recipe"], "network": UNET}
    config["trainer"]["max_steps"] = 25
    assert parent.compared_with(config) == [
        "goes on with mine, as it was trained: recipe, network, sampling, augmentation, mixing, optimizer, "
        "scheduler, training, detector, evaluation",
        "  otherwise: loss",
        "  learning rate 0.001 (there 0.003), 25 steps (there 100)",
    ]
