"""Trainings are compared by cases that are left out for it, at their last step, each in one process."""

import pytest

from segpipe.cli.train import registries
from segpipe.config.check import settings_of
from segpipe.config.compose import compose
from segpipe.config.schema import Settings
from segpipe.errors import ConfigError, DatasetError
from segpipe.pipelines.choosing import check_alone, check_validation

RATES, ROWS = "a study chooses rates", "a study trains each row"


@pytest.fixture(scope="module")
def words(tiny_words) -> list[str]:
    return [*tiny_words, "data.fractions=[0.6,0.2,0.2]", "trainer.max_steps=4", "training.validate_every=2"]


def settings_of_words(words: list[str], *own: str) -> Settings:
    return settings_of(compose([*words, *own], registries), registries())


@pytest.mark.parametrize("words_of_split", [["data.fold=0"], ["data.fold=all"], ["data.fractions=[0.8,0.0,0.2]"]])
def test_a_split_without_validation_cases_leaves_nothing_to_choose_rates_by(words, words_of_split):
    with pytest.raises(DatasetError, match="a study chooses rates by validation cases, and there are none") as caught:
        check_validation(settings_of_words(words, *words_of_split), what=RATES)
    assert caught.value.hint == "data.fold=null 'data.fractions=[0.6,0.2,0.2]'"


def test_rates_are_chosen_by_the_validation_after_the_last_step(words):
    with pytest.raises(ConfigError, match="by the validation after the last step, and there is none") as caught:
        check_validation(settings_of_words(words, "trainer.max_steps=6", "training.validate_every=4"), what=RATES)
    assert caught.value.hint == "training.validate_every=2, or another divisor of trainer.max_steps"


def test_processes_that_a_launcher_has_started_are_refused(words, monkeypatch):
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")
    with pytest.raises(ConfigError, match="a study trains each row in one process, on one device") as caught:
        check_alone(settings_of_words(words, "trainer.devices=2"), what=ROWS)
    assert caught.value.facts == {"srun started": "2 processes"}
    monkeypatch.delenv("SLURM_STEP_NUM_TASKS")
    check_alone(settings_of_words(words, "trainer.devices=2"), what=ROWS)
