"""What is wrong with the section `detector` is said all together."""

from types import SimpleNamespace

import pytest

from segpipe.cli.train import registries
from segpipe.config.check import settings_of
from segpipe.config.compose import compose
from segpipe.errors import ConfigError
from segpipe.training.detector.settings import check_detector


def settings(*words: str):
    return settings_of(compose(["+experiment=lung_nodule", *words], registries), registries())


def test_one_stage_is_the_default():
    assert settings().detector is None
    assert settings("detector=two_stage", "detector.steps=7").detector.steps == 7


def test_mistakes_are_named_together():
    with pytest.raises(ConfigError) as caught:
        settings("detector=two_stage", "detector.crop_mm=300", "detector.layers.channels=[3]", "detector.batch_size=1")
    text = str(caught.value)
    assert "detector.crop_mm=300: input should be less than or equal to 128" in text
    assert "detector.layers.channels.0=3: " in text
    assert "detector.batch_size=1: input should be greater than or equal to 2" in text


@pytest.mark.parametrize(
    ("section", "mistake"),
    [
        (
            {"name": "two_stages"},
            "detector.name=two_stages: must be one of one_stage, two_stage; did you mean two_stage?",
        ),
        ({"name": "one_stage", "lr": 1.0}, "detector.lr: no such key; allowed: name"),
        ({}, "detector.name=None: must be one of one_stage, two_stage"),
    ],
)
def test_the_name_decides_which_keys_there_are(section, mistake):
    assert check_detector("detector", {"detector": section}) == (None, [mistake])


def test_a_network_that_answers_to_a_point_has_one_stage():
    two = {"name": "two_stage", "crop_mm": 32.0, "layers": {"channels": [4], "dropout": 0.0}, "lr": 1e-3}
    two |= {"candidates_per_scan": 3, "steps": 2, "batch_size": 2}
    made, mistakes = check_detector("detector", {"detector": two, "recipe": SimpleNamespace(scope="voi")})
    assert made is None
    assert mistakes == ["detector=two_stage: searches whole scans, so recipe.scope must be scan; leave it at one_stage"]
