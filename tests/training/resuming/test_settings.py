"""A resumed run takes over new rates and schedules, refuses another task by naming both values, and says its folder."""

import copy
import logging

import pytest
import torch
import yaml

from segpipe.cli.train import registries, train
from segpipe.config.check import plain
from segpipe.config.compose import compose
from segpipe.errors import ConfigError
from segpipe.training.optimisation.optimizers import build_optimizer
from segpipe.training.optimisation.schedulers import build_scheduler
from segpipe.training.resuming.settings import check_resume

ADAMW = {"name": "adamw", "lr": 3e-3, "weight_decay": 0.01, "betas": [0.9, 0.999], "eps": 1e-8}
COSINE = {"name": "cosine", "warmup": 0.0, "final_fraction": 0.0}
BEGUN = {
    "seed": 0,
    "resume": False,
    "data": {"name": "nifti", "root": "/a", "fold": 0},
    "network": {"name": "unet", "channels": [8, 16]},
    "optimizer": {"name": "adamw", "lr": 3e-3},
    "scheduler": {"name": "cosine", "warmup": 0.1},
    "trainer": {"max_steps": 10},
    "training": {"batch_size": 4, "log_every": 5},
}


def changed(**values):
    """BEGUN with other values; `__` stands for a dot."""
    config = copy.deepcopy(BEGUN)
    for path, value in values.items():
        *sections, key = path.split("__")
        target = config
        for section in sections:
            target = target[section]
        target[key] = value
    return config


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(BEGUN, sort_keys=False))
    return tmp_path


def test_what_may_change_is_said_with_both_values(folder, caplog):
    config = changed(
        resume=True, optimizer__lr=1e-6, scheduler__name="constant", trainer__max_steps=20, training__log_every=1,
        data__root="/b",
    )  # fmt: skip
    with caplog.at_level(logging.INFO, "segpipe"):
        check_resume(config, folder)
    assert caplog.messages == [
        f"resuming {folder}",
        "  data.root: /b from here on, /a before",
        "  optimizer.lr: 1e-06 from here on, 0.003 before",
        "  scheduler.name: constant from here on, cosine before",
        "  trainer.max_steps: 20 from here on, 10 before",
        "  training.log_every: 1 from here on, 5 before",
    ]


def test_what_must_stay_is_refused_at_once_with_both_values(folder):
    config = changed(
        seed=1, optimizer__name="sgd", optimizer__momentum=0.9, network__channels=[8], data__fold=2,
        training__batch_size=8, network__norm="batch",
    )  # fmt: skip
    with pytest.raises(ConfigError) as error:
        check_resume(config, folder)
    assert str(error.value) == (
        "a run is resumed with the settings that it began with\n"
        f"  run                  {folder}\n"
        "  seed                 began with 0, asked for 1\n"
        "  data.fold            began with 0, asked for 2\n"
        "  network.channels     began with [8, 16], asked for [8]\n"
        "  optimizer.name       began with adamw, asked for sgd\n"
        "  training.batch_size  began with 4, asked for 8\n"
        "  network.norm         began with (absent), asked for batch\n"
        "  try                  leave these keys as they were, or start a new run without resume=true"
    )


@pytest.mark.parametrize("scheduler", [{"name": "plateau"}, {"_target_": "mypkg.Steps"}])
def test_rates_that_a_schedule_keeps_must_stay(folder, scheduler):
    (folder / "config.yaml").write_text(yaml.safe_dump({**BEGUN, "scheduler": scheduler}))
    check_resume({**BEGUN, "scheduler": scheduler}, folder)
    with pytest.raises(ConfigError, match=r"optimizer\.lr +began with 0\.003, asked for 1"):
        check_resume({**changed(optimizer__lr=1), "scheduler": scheduler}, folder)
    with pytest.raises(ConfigError, match=r"scheduler\."):
        check_resume(BEGUN, folder)


def test_a_folder_without_configuration_is_a_new_run(tmp_path, caplog):
    with caplog.at_level(logging.INFO, "segpipe"):
        check_resume(BEGUN, tmp_path)
    assert caplog.messages == [f"there is no run to resume: a new one begins in {tmp_path}"]


@pytest.mark.parametrize("text", ["", "- 1", "a: ["])
def test_a_damaged_configuration_is_refused(tmp_path, text):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ConfigError, match="the run's configuration cannot be read"):
        check_resume(BEGUN, tmp_path)


def test_a_configuration_without_a_section_is_compared_as_any_other(tmp_path):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({**BEGUN, "scheduler": None}))
    with pytest.raises(ConfigError, match="with the settings that it began with"):
        check_resume(BEGUN, tmp_path)


def test_a_run_that_began_before_there_were_some_keys_is_resumed_with_their_defaults(folder):
    begun = changed(init={"from": "runs/first", "min_share": 0.5})
    (folder / "config.yaml").write_text(yaml.safe_dump(begun))
    of_today = {**begun, "init": {**begun["init"], "continues": False}}
    of_today["data"] = {**begun["data"], "limit": None, "rehearsal": None}
    check_resume(of_today, folder)
    of_today["init"]["continues"] = True
    with pytest.raises(ConfigError) as error:
        check_resume(of_today, folder)
    assert error.value.facts["init.continues"] == "began with False, asked for True"


def test_another_task_is_refused_before_any_data_is_read(tiny_words, tmp_path):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(plain(compose(tiny_words, registries))))
    words = [*tiny_words, "resume=true", "seed=3", "data.root=/absent"]
    with pytest.raises(ConfigError, match=r"seed +began with 0, asked for 3"):
        train(compose(words, registries), tmp_path, None)


def learn(optimizer_spec, scheduler_spec, *, steps, state=None):
    """Steps on a constant gradient, from a saved state on; the network, the optimizer and the states."""
    torch.manual_seed(0)
    network = torch.nn.Linear(2, 2)
    optimizer = build_optimizer(optimizer_spec, network)
    scheduler = build_scheduler(scheduler_spec, optimizer, 10)
    if state:
        for part, saved in zip((network, optimizer, scheduler), state, strict=True):
            part.load_state_dict(saved)
    for _ in range(steps):
        network.weight.grad, network.bias.grad = torch.ones(2, 2), torch.ones(2)
        optimizer.step()
        scheduler.step()
    states = [copy.deepcopy(part.state_dict()) for part in (network, optimizer, scheduler)]
    return network, optimizer, states


def test_new_numbers_take_effect_and_what_was_learnt_stays():
    _, _, state = learn(ADAMW, COSINE, steps=5)
    _, optimizer, _ = learn({**ADAMW, "lr": 1e-6, "weight_decay": 0.5}, COSINE, steps=0, state=state)
    decaying, kept = optimizer.param_groups
    assert decaying["lr"] == kept["lr"] == pytest.approx(5e-7)  # half a cosine at step 5 of 10: one half
    assert (decaying["weight_decay"], kept["weight_decay"]) == (0.5, 0.0)
    assert optimizer.state_dict()["state"][0]["step"] == 5


def test_another_schedule_goes_on_at_the_same_step():
    _, _, state = learn(ADAMW, COSINE, steps=5)
    linear = {"name": "polynomial", "power": 1.0, "warmup": 0.0}
    _, optimizer, _ = learn(ADAMW, linear, steps=2, state=state)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(3e-3 * 0.3)  # seven of ten steps are done


@pytest.mark.parametrize("scheduler", [COSINE, {"name": "constant", "warmup": 0.3}])
def test_the_same_settings_give_the_same_bits(scheduler):
    whole, _, _ = learn(ADAMW, scheduler, steps=8)
    _, _, state = learn(ADAMW, scheduler, steps=3)
    resumed, _, _ = learn(ADAMW, scheduler, steps=5, state=state)
    assert torch.equal(whole.weight, resumed.weight)
