"""Experiments choose options, and options carry the numbers: another option brings its own."""

import pytest

from segpipe.cli.train import registries
from segpipe.config.check import settings_of
from segpipe.config.compose import compose


def settings(*words: str):
    return settings_of(compose(words, registries), registries()).model_dump()


def test_the_main_job_keeps_its_numbers():
    main_job = settings("+experiment=lung_nodule")
    assert (main_job["network"]["channels"], main_job["network"]["strides"]) == ([16, 32, 64, 128], [1, 2, 2, 2])
    assert main_job["recipe"]["patch"] == (32, 32, 32)
    assert (main_job["data"]["sizes"], main_job["data"]["distractors"]) == ("lidc", True)
    assert (main_job["optimizer"]["name"], main_job["optimizer"]["lr"]) == ("soap", 3e-3)
    assert (main_job["scheduler"]["name"], main_job["trainer"]["max_steps"]) == ("one_cycle", 500)
    assert (main_job["training"]["batch_size"], main_job["sampling"]["lesion_fraction"]) == (8, 0.5)
    assert main_job["sampling"]["hard_negatives"] == 0.25
    assert (main_job["loss"]["batch_dice"], main_job["loss"]["lesion_weight"]) == (False, 5.0)


def test_the_volume_of_interest_keeps_its_numbers():
    voi = settings("+experiment=lung_nodule_voi", "data.root=scans")
    assert (voi["data"]["table"], voi["data"]["fold"], voi["data"]["schedule"]["max_steps"]) == ("nodules.csv", 0, 2400)
    network = {"channels": [16, 32, 64, 128], "strides": [1, 2, 2, 2], "deep_supervision": 0, "norm": "batch"}
    assert {key: voi["network"][key] for key in network} == network
    assert (voi["network"]["name"], voi["network"]["act"]) == ("dynunet", "relu")
    assert (voi["optimizer"]["lr"], voi["optimizer"]["weight_decay"]) == (3e-3, 1e-2)
    assert (voi["scheduler"]["name"], voi["scheduler"]["warmup"]) == ("cosine", 0.1)
    assert voi["loss"]["batch_dice"] is False
    assert [voi["training"][key] for key in ("batch_size", "clip_norm", "validation_patches")] == [8, 5.0, 64]
    assert [voi["sampling"][key] for key in ("lesion_fraction", "shift", "hidden_borders")] == [0.0, 0.15, 0.5]
    assert voi["evaluation"]["flips"] == [0, 1, 2]


def test_the_sample_needs_no_root():
    sample = settings("+experiment=lung_nodule_voi", "data=lidc_sample")["data"]
    assert (sample["name"], sample["root"], sample["table"]) == ("nifti", "lidc_sample", "nodules.csv")
    assert (sample["fold"], sample["schedule"]["max_steps"]) == (0, 1200)


def test_ratings_keep_their_numbers():
    found = settings("+experiment=lung_nodule_ratings", "data.root=scans")
    assert (found["data"]["table"], found["data"]["folds"], found["optimizer"]["lr"]) == ("nodules.csv", 5, 1e-2)
    ratings = found["ratings"]
    assert (ratings["crop"]["side"], ratings["crop"]["spacing_mm"], ratings["crop"]["margin_mm"]) == (24, 1.25, 3.0)
    assert ratings["layers"] == {"channels": [8, 16, 32], "hidden": 16, "dropout": 0.2}
    assert (ratings["steps"], ratings["batch_size"]) == (1000, 32)


@pytest.mark.parametrize(
    ("word", "key", "value"),
    [
        ("optimizer=nesterov", "lr", 1e-2),
        ("optimizer=adamw", "lr", 1e-3),
        ("scheduler=plateau", "patience", 3),
        ("augmentation=none", "transforms", {}),
        ("loss=dice_ce", "batch_dice", True),
        ("training=scan", "batch_size", 4),
        ("network=unet", "norm", "instance"),
    ],
)
def test_another_option_brings_its_own_numbers(word, key, value):
    section = word.partition("=")[0]
    for experiment in (["+experiment=lung_nodule"], ["+experiment=lung_nodule_voi", "data.root=scans"]):
        assert settings(*experiment, word)[section][key] == value


def test_another_data_set_keeps_the_network():
    phantom = settings("+experiment=lung_nodule")
    own = settings("+experiment=lung_nodule", "data=nifti", "data.root=scans")
    assert phantom["network"] == own["network"]
    assert settings("+experiment=lung_tumour", "data=phantom")["network"]["channels"][0] == 32
