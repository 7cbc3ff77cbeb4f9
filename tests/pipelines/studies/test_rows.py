"""A row of a study is a configuration, a folder and a command that composes to just that configuration."""

import shlex

import pytest
from pydantic import TypeAdapter, ValidationError

from segpipe.cli.train import registries
from segpipe.config.check import checked, plain
from segpipe.config.compose import compose
from segpipe.pipelines.studies.rows import Row, command_of, config_of, every_row
from segpipe.pipelines.studies.settings import Study, check_study

WORDS = [
    "+experiment=optimizer_study",
    'data.root="/my data/x"',
    "study.seeds=[3,4]",
    "optimizer.lr=0.1",
    "resume=true",
]


def study(**changes) -> Study:
    given = {
        "candidates": {"adamw": {"optimizer": {"name": "adamw", "lr": 1e-3}}, "sgd": {"optimizer": {"lr": 0.05}}},
        "rates": 3,
        "spacing": 10.0,
        "seeds": [3, 4],
        "pruning": None,
        "variants": {"eps": {"of": "sgd", "change": {"training": {"ema": None}}}},
    }
    return TypeAdapter(Study).validate_python({**given, **changes})


@pytest.fixture(scope="module")
def shipped():
    content = plain(compose(WORDS, registries))
    return content, checked(content, registries()).study


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        (1, [1e-3]),
        (2, [1e-3, 3.2e-3]),
        (4, [1e-3, 3.2e-4, 3.2e-3, 1e-2]),
        (5, [1e-3, 3.2e-4, 3.2e-3, 1e-4, 1e-2]),
    ],
)
def test_rates_lie_evenly_around_the_candidates_own_which_comes_first(rates, expected):
    assert study(rates=rates, spacing=10**0.5).rates_of("adamw") == pytest.approx(expected)


def test_rates_are_searched_with_the_first_seed_and_then_come_the_others_and_the_variants():
    rows = every_row(study(rates=1))
    assert [row.name for row in rows] == [
        "adamw_lr0.001_seed3", "sgd_lr0.05_seed3", "adamw_lr0.001_seed4", "sgd_lr0.05_seed4", "sgd.eps_lr0.05_seed3",
    ]  # fmt: skip


def test_a_row_has_the_candidates_sections_whole_and_of_a_variant_the_changed_keys():
    config = {
        "optimizer": {"name": "lion", "lr": 1.0, "betas": [0.9, 0.99]},
        "training": {"ema": 0.9, "accumulate": 1},
        "seed": 0,
        "resume": True,
        "study": {},
    }
    assert config_of(Row("sgd", 0.5, 4, "eps"), study(), config) == {
        "optimizer": {"lr": 0.5}, "training": {"ema": None, "accumulate": 1}, "seed": 4, "resume": False,
    }  # fmt: skip


def test_a_candidate_may_change_keys_and_has_the_optimizer_of_the_configuration():
    config = {"optimizer": {"name": "soap", "lr": 0.1}, "training": {"ema": 0.9, "accumulate": 1}, "seed": 0}
    given = {"no_ema": {"change": {"training": {"ema": None}}}, "same": None}
    made, mistakes = check_study(
        "study", {**config, "study": {"candidates": given, "rates": 1, "spacing": 2, "seeds": [0], "pruning": None}}
    )
    assert mistakes == []
    assert made.rates_of("same") == [0.1]
    plain_row = {**config, "resume": False}
    assert config_of(Row("same", 0.1, 0), made, config) == plain_row
    assert config_of(Row("no_ema", 0.1, 0), made, config) == {
        **plain_row, "training": {"ema": None, "accumulate": 1}
    }  # fmt: skip


def listed(value):
    """Plain data whose checked tuples are lists again, as a configuration has them."""
    if isinstance(value, dict):
        return {key: listed(one) for key, one in value.items()}
    return [listed(one) for one in value] if isinstance(value, list | tuple) else value


ABLATION = ["+experiment=regularisation_study", "data.root=/x", "augmentation=strong"]


@pytest.mark.slow
def test_each_row_of_the_ablation_has_a_command_that_composes_to_its_configuration():
    content = plain(compose(ABLATION, registries))
    whole = checked(content, registries()).study
    for name in whole.candidates:
        own = config_of(Row(name, 3e-3, 1), whole, content)
        command = shlex.split(command_of(own, content, ABLATION))
        assert plain(compose(command[3:], registries)) == listed(own), name
    assert config_of(Row("default", 3e-3, 1), whole, content)["optimizer"]["name"] == "soap"


@pytest.mark.slow
@pytest.mark.parametrize("candidate", ["adamw", "sgd", "schedule_free", "adamw.batch_half", "adamw.beta1_low"])
def test_the_command_of_a_row_composes_to_its_configuration(shipped, candidate):
    content, whole = shipped
    name, _, variant = candidate.partition(".")
    own = config_of(Row(name, 1e-5, 4, variant), whole, content)
    command = shlex.split(command_of(own, content, WORDS))
    assert command[:3] == ["python", "-m", "segpipe"]
    assert plain(compose(command[3:], registries)) == own


def test_a_study_that_was_added_by_a_word_is_left_out_with_it():
    words = ["+study=mine", "study.rates=2", "seed=1"]
    assert command_of({"seed": 2}, {"seed": 1}, words) == "python -m segpipe seed=2"


def test_a_part_of_another_name_is_chosen_with_all_its_keys():
    own, config = {"optimizer": {"name": "sgd", "lr": 0.1}}, {"optimizer": {"name": "adam", "lr": 0.1}}
    words = ["optimizer=adam", "optimizer.eps=1e-3", "optimizer.lr=0.1", "network=unet"]
    assert command_of(own, config, words) == "python -m segpipe network=unet '~study' optimizer=sgd optimizer.lr=0.1"


def test_the_shipped_study_has_every_optimizer_and_a_schedule_free_one_keeps_its_rate(shipped):
    content, whole = shipped
    from segpipe.training.optimisation.optimizers import OPTIMIZERS

    assert set(whole.candidates) == set(OPTIMIZERS)
    assert whole.candidates["schedule_free"]["scheduler"]["name"] == "constant"
    assert content["data"]["fold"] is None


@pytest.mark.slow
def test_candidates_and_variants_are_left_out_on_the_command_line():
    words = [*WORDS, "~study.candidates.sgd", "~study.variants", "study.candidates.lion.optimizer.lr=0.1"]
    found = checked(plain(compose(words, registries)), registries()).study
    assert "sgd" not in found.candidates
    assert found.candidates["lion"]["optimizer"]["lr"] == 0.1
    assert found.variants == {}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"candidates": {"a": {"network": {}}}}, "candidates.a must have an optimizer with a rate"),
        ({"candidates": {}}, "at least 1 item"),
        ({"variants": {"x": {"of": "lion", "change": {"seed": 1}}}}, "x.of must be one of adamw, sgd; found lion"),
        ({"reference": "lion"}, "reference must be one of adamw, sgd; found lion"),
        ({"seeds": [1, 1]}, "must be different seeds"),
        ({"spacing": 1.0}, "greater than 1"),
    ],
)  # fmt: skip
def test_a_study_that_cannot_be_is_refused(changes, message):
    with pytest.raises(ValidationError, match=message):
        study(**changes)
