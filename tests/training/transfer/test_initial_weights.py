"""Initial weights are loaded as far as they fit, refused where too little does, and written down."""

import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from segpipe.cli.train import registries
from segpipe.config.check import settings_of
from segpipe.config.compose import compose
from segpipe.datasets.manifest import Entry, Manifest
from segpipe.errors import ConfigError, ModelError
from segpipe.export.seen_cases import SEEN, make_group
from segpipe.labels import LabelMap
from segpipe.networks import build_network
from segpipe.pipelines.provenance import collect_provenance
from segpipe.training.data.run_data import RunData
from segpipe.training.transfer.initial_weights import (
    check_public,
    describe_initial_weights,
    keep_facts,
    load_initial_weights,
    seen_before,
    with_caution,
)
from segpipe.training.transfer.settings import Initialisation
from tests.samples.small_models import FACTS, SCAN, UNET, network_of, write_small
from tests.support.runs import saved_weights
from tests.training.resuming.test_resume import assert_bit_identical, fit_words

OTHER = LabelMap.build({1: "rim", 2: "core"})


@pytest.fixture
def weights(tmp_path):
    """Of a network of the same kind, with weights that differ from those that a seed draws."""
    torch.manual_seed(7)
    save_file(build_network(UNET).state_dict(), tmp_path / "unet.safetensors")
    return tmp_path / "unet.safetensors"


def settings(*words):
    own = ["network=unet_small", "network.channels=[4,8]", "network.strides=[2]", "network.num_res_units=1", *words]
    return settings_of(compose(["+experiment=lung_nodule", *own], registries), registries())


def test_what_fits_is_loaded_and_the_rest_stays_as_it_was_drawn(weights):
    torch.manual_seed(0)
    network = build_network(UNET, out_channels=3)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    _, match = load_initial_weights(network, Initialisation(source=str(weights), min_share=0.3), OTHER)
    torch.manual_seed(7)
    source = build_network(UNET).state_dict()
    total = sum(value.numel() for value in before.values())
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name] if name.startswith("model.2.") else source[name])
    encoder = sum(value.numel() for name, value in source.items() if not name.startswith("model.2."))
    assert match.share == pytest.approx(encoder / total)


def test_a_table_says_what_and_why(weights, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    facts = describe_initial_weights(settings(f"init.from={weights}", "init.licence=MIT"), tmp_path)
    assert facts["source"] == "unet.safetensors"
    assert (facts["licence"], facts["loaded"], len(facts["sha256"])) == ("MIT", "100 %", 64)
    assert caplog.messages[0].startswith("initial weights: unet.safetensors (file of weights; licence: MIT; SHA-256 ")
    assert caplog.messages[1].endswith("100 % of the network's parameters")


def test_without_a_source_there_is_nothing_to_say(tmp_path):
    assert describe_initial_weights(settings(), tmp_path) == {}


def test_nothing_that_fits_and_too_little_that_fits_are_refused(weights, tmp_path):
    save_file({"fc.weight": torch.ones(2, 3)}, tmp_path / "other.safetensors")
    with pytest.raises(ModelError, match="do not fit the network") as nothing:
        describe_initial_weights(settings(f"init.from={tmp_path}/other.safetensors", "init.min_share=0"), tmp_path)
    assert nothing.value.facts["loaded"] == "0 % of the network's parameters"
    words = (f"init.from={weights}", "recipe.labels={1: rim, 2: core}")
    with pytest.raises(ModelError, match="too little of the network would be loaded") as little:
        describe_initial_weights(settings(*words, "init.min_share=0.99"), tmp_path)
    assert little.value.facts["1"] == "model.2.0.conv.weight: shape 12×2×3×3×3 ≠ 12×3×3×3×3"
    allowed = little.value.hint.rpartition("init.")[2].split()[0]
    assert describe_initial_weights(settings(*words, f"init.{allowed}"), tmp_path)["loaded"] != "100 %"


@pytest.mark.usefixtures("without_onnx")
def test_a_head_of_other_classes_is_left_at_random(tmp_path):
    recipe = replace(SCAN, labels={1: "solid", 2: "ground_glass"})
    write_small(tmp_path / "model", UNET, recipe)
    init = Initialisation(source=str(tmp_path / "model"), min_share=0.3)
    _, other = load_initial_weights(network_of(UNET, 3), init, OTHER)
    _, same = load_initial_weights(network_of(UNET, 3), init, recipe.label_map)
    assert set(other.missing.values()) == {"other classes"}
    assert set(other.missing) == {name for name in network_of(UNET, 3).state_dict() if name.startswith("model.2.")}
    assert same.share == 1.0


@pytest.mark.usefixtures("without_onnx")
def test_the_cases_of_the_source_are_kept_for_the_model_folder_and_nothing_else(tmp_path, without_onnx):
    group = make_group({"train": ["00" * 32]})
    source = write_small(tmp_path / "model", about={**FACTS, SEEN: [group]}).path
    facts = describe_initial_weights(settings(f"init.from={source}"), tmp_path)
    keep_facts(facts, tmp_path)
    assert seen_before(tmp_path) == [group]
    assert seen_before(tmp_path / "model") == []
    manifest = Manifest("m", "nifti", (Entry("a", "a", Path("a.nii"), split="train"),), {1: "nodule"})
    known = collect_provenance(settings(), RunData(manifest, SCAN, "0" * 16, {}), facts)["init"]
    assert known["source"] == facts["source"]
    assert group["salt"] not in repr(known)


@pytest.mark.usefixtures("without_onnx")
def test_scans_that_were_prepared_otherwise_are_named(tmp_path, caplog):
    write_small(tmp_path / "model", UNET, SCAN)
    words = (f"init.from={tmp_path / 'model'}", f"recipe.spacing_mm={[*SCAN.spacing_mm]}")
    describe_initial_weights(settings(*words, "recipe.window_hu=[-1000.0,400.0]"), tmp_path)
    assert "prepared otherwise" not in caplog.text
    describe_initial_weights(settings(*words, "recipe.window_hu=[-1000.0,200.0]"), tmp_path)
    assert "prepared otherwise: window_hu (-1000.0, 400.0) ≠ (-1000.0, 200.0)" in caplog.text


def test_a_resumed_run_needs_the_source_no_more(weights, tmp_path):
    first = describe_initial_weights(settings(f"init.from={weights}"), tmp_path)
    keep_facts(first, tmp_path)
    weights.unlink()
    assert describe_initial_weights(settings(f"init.from={weights}", "resume=true"), tmp_path) == first
    assert json.loads((tmp_path / "init.json").read_text()) == first


def test_a_source_that_may_have_seen_the_held_out_cases_is_named(caplog):
    facts = {"data_hash": "ab", "training_cases_sha256": "1"}
    assert "caution" in with_caution(facts, data_hash="ab", split={"training_cases_sha256": "2"})
    assert "perhaps on those that this run holds out" in caplog.text
    assert with_caution(facts, data_hash="ab", split={"training_cases_sha256": "1"}) == facts
    assert with_caution(facts, data_hash="cd", split={"training_cases_sha256": "2"}) == facts


def test_a_private_training_does_not_begin_with_weights_of_its_own_cases():
    own, other = ["0a" * 32, "0b" * 32], "0c" * 32
    facts = {"source": "lidc-voi", "data_hash": "ab", "seen_cases": [make_group({"train": [other], "test": own})]}
    check_public(facts, data_hash="cd", digests=own)
    check_public({"source": "astra"}, data_hash="cd", digests=own)
    with pytest.raises(ConfigError, match="must not begin with weights that have learnt from its own cases") as caught:
        check_public(facts, data_hash="ab", digests=own)
    assert caught.value.facts == {"init.from": "lidc-voi", "learnt from": "the same data set"}
    assert "of other patients or of phantoms" in caught.value.hint
    facts["seen_cases"].append(make_group({"train": own[:1]}))
    with pytest.raises(ConfigError) as caught:
        check_public(facts, data_hash="cd", digests=own)
    assert caught.value.facts["learnt from"] == "1 of 2"


@pytest.mark.slow
def test_a_run_begins_with_the_weights_and_a_resumed_one_with_its_checkpoint(tiny_words, weights, tmp_path):
    words = [*tiny_words, "network.channels=[4,8]", f"init.from={weights}", "training.batch_size=1"]
    words += ["training.ema=null", "scheduler=constant", "scheduler.warmup=0"]
    fit_words([*words, "trainer.max_steps=1", "optimizer.lr=1e-12"], tmp_path / "unmoved")
    torch.manual_seed(7)
    for name, value in build_network(UNET).state_dict().items():
        torch.testing.assert_close(saved_weights(tmp_path / "unmoved")[f"network.{name}"], value, rtol=0, atol=1e-9)
    fit_words([*words, "trainer.max_steps=4"], tmp_path / "whole")
    fit_words([*words, "trainer.max_steps=2"], tmp_path / "resumed")
    weights.unlink()
    fit_words([*words, "trainer.max_steps=4", "resume=true"], tmp_path / "resumed")
    assert_bit_identical(tmp_path / "whole", tmp_path / "resumed")
