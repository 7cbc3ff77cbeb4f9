"""What does not go with a private training is said all together, before any work, each with what to choose instead."""

import pytest

from segpipe.cli.train import registries
from segpipe.config.check import settings_of
from segpipe.config.compose import compose
from segpipe.errors import ConfigError
from segpipe.training.privacy import settings as module
from segpipe.training.privacy.plan import plan_privacy
from segpipe.training.privacy.settings import check_privacy

FITTING = ("privacy=dp", "training.clip_norm=null", "sampling=scan")


def settings(*words: str):
    return settings_of(compose(["+experiment=lung_nodule", "network=unet_small", *words], registries), registries())


def refusal(*words: str) -> str:
    with pytest.raises(ConfigError) as caught:
        settings(*words)
    return str(caught.value)


def test_nothing_is_promised_by_default():
    assert settings().privacy is None
    assert settings(*FITTING).privacy.epsilon == 8


WRONG = {
    "training.clip_norm=5": "clipped and noisy gradients is not clipped again; training.clip_norm=null",
    "training.clip_value=5": "clipped and noisy gradients is not clipped again; training.clip_value=null",
    "training.accumulate=2": "so it needs no more memory; training.accumulate=1",
    "trainer.nodes=2": "patients are drawn by one process; trainer.nodes=1",
    "trainer.devices=2": "patients are drawn by one process; trainer.strategy=auto trainer.devices=1",
    "trainer.precision=16-mixed": "found by steps that are skipped; trainer.precision=bf16-mixed or 32-true",
    "sampling.hard_negatives=0.1": "depends on those of others; sampling.hard_negatives=0.0",
    "data.fold=all": "the folds share their patients, whose ε would add up; data.fold=0",
    "data.rehearsal=/old": "a patient of both data sets would count as two; data.rehearsal=null",
    "detector=two_stage": "would learn from the same patients without any noise; detector=one_stage",
    "check=true": "are not the patients that noise and rate are found for; check=false",
    "network.norm=batch": "BatchNorm3d keeps means of all patients' scans without noise; network.norm=instance",
    "callbacks=[{_target_: pytorch_lightning.callbacks.DeviceStatsMonitor}]": (
        "what foreign callbacks do with the weights or the data is not known; callbacks=[]"
    ),
    "module._target_=segpipe.training.module.segmentation": "by a module of its own; module.name=segmentation",
    "+pretraining=masked_blocks": "only segmentation is trained privately; pretraining=null",
}


@pytest.fixture(scope="module")
def all_wrong() -> str:
    return refusal(*FITTING, *WRONG)


@pytest.mark.parametrize("word", WRONG)
def test_each_is_refused_and_all_together(all_wrong, word):
    assert WRONG[word] in all_wrong
    assert f"the configuration has {len(WRONG)} mistakes" in all_wrong


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["mixing=mixup"], "what is learnt of one patient must not depend on another; mixing=none"),
        (["trainer=ddp"], "patients are drawn by one process; trainer.strategy=auto trainer.devices=1"),
        (["trainer=fsdp"], "patients are drawn by one process; trainer.strategy=auto trainer.devices=1"),
        (["data=implanted", "data.hosts=/a", "data.nodules=/b"], "an implanted scan is of two patients; another data"),
    ],
)
def test_each_alone_is_refused(words, message):
    text = refusal(*FITTING, *words)
    assert message in text
    assert "the configuration has a mistake" in text


def test_they_are_said_with_other_mistakes():
    text = refusal("privacy=dp", "sampling=scan", "seed=-1")
    assert "the configuration has 2 mistakes" in text
    assert "seed=-1" in text


def test_values_have_bounds():
    text = refusal(*FITTING, "privacy.delta=1", "privacy.clip_norm=0", "privacy.randomness=dice", "privacy.sigma=1")
    for part in ("privacy.delta=1", "privacy.clip_norm=0", "privacy.randomness=dice", "privacy.sigma"):
        assert part in text
    assert "must say how much noise there is: epsilon=8.0" in refusal(*FITTING, "privacy.epsilon=null")


@pytest.mark.parametrize(
    ("section", "mistake"),
    [
        ({"name": "pd"}, "privacy.name=pd: must be one of none, dp; did you mean dp?"),
        ({"name": "none", "epsilon": 8.0}, "privacy.epsilon: no such key; allowed: name"),
    ],
)
def test_an_unknown_kind_is_refused(section, mistake):
    assert check_privacy("privacy", {"privacy": section}) == (None, [mistake])


def test_opacus_may_be_missing(monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    assert "privacy=dp: needs Opacus, which counts what is spent; pip install 'segpipe[privacy]'" in refusal(*FITTING)


def test_a_plan_finds_what_is_left_open():
    plan = plan_privacy(settings(*FITTING, "privacy.epsilon=0.5", "training.batch_size=2"), patients=20)
    assert (plan.delta, plan.sampling_rate) == (pytest.approx(0.005), 0.1)
    assert plan.noise_multiplier > 5
    given = plan_privacy(settings(*FITTING, "privacy.noise_multiplier=1.5", "privacy.delta=1e-6"), patients=20)
    assert (given.noise_multiplier, given.delta) == (1.5, 1e-6)


def test_a_bound_that_no_single_step_keeps_is_refused():
    words = [*FITTING, "privacy.noise_multiplier=1", "privacy.epsilon=0.1", "training.batch_size=2"]
    with pytest.raises(ConfigError, match=r"a single step with this noise spends more than privacy\.epsilon") as caught:
        plan_privacy(settings(*words), patients=20)
    assert caught.value.facts["privacy.noise_multiplier"] == 1
    assert "privacy.noise_multiplier=null" in caught.value.hint


def test_more_patients_than_there_are_and_a_large_delta_are_refused():
    with pytest.raises(ConfigError, match="a private step draws some of the training's patients") as caught:
        plan_privacy(settings(*FITTING, "training.batch_size=30"), patients=20)
    assert caught.value.hint == "training.batch_size=5"
    with pytest.raises(ConfigError, match="must be smaller than 1 over the patients") as caught:
        plan_privacy(settings(*FITTING, "privacy.delta=0.05"), patients=20)
    assert caught.value.hint == "privacy.delta=null, which is 0.005 here"
