"""A plan is a configuration file from anywhere: it beats the experiment, and the command line beats it."""

import pytest

from segpipe.cli.train import registries
from segpipe.config.compose import compose
from segpipe.config.plan import with_plans
from segpipe.errors import ConfigError


@pytest.fixture
def plan(tmp_path):
    folder = tmp_path / "Müller's data, 50%=a"  # nothing in a path may mean anything to Hydra
    folder.mkdir()
    return folder / "plan.yaml"


def test_a_plan_beats_the_experiment_and_the_command_line_beats_it(plan):
    plan.write_text(
        "defaults: [override /data: nifti]\ndata: {root: scans}\noptimizer: {lr: 5e-4}\ntraining: {ema: null}\n"
    )
    words = with_plans(["training.batch_size=5", f"+plan={plan}", "+experiment=lung_nodule", "optimizer.eps=1e-7"])
    config = compose(words, registries)
    assert (config.data.name, config.data.root) == ("nifti", "scans")
    assert (config.optimizer.lr, config.optimizer.eps) == (5e-4, 1e-7)
    assert (config.training.batch_size, config.training.ema) == (5, None)
    assert config.network.channels[0] == 16


def test_mistakes_in_a_plan_are_reported_with_all_others(plan):
    plan.write_text("trainin: {batch_size: 3}\noptimizer: {lr: -1}\n")
    with pytest.raises(ConfigError, match="3 mistakes") as caught:
        compose(with_plans([f"+plan={plan}", "loss=dise"]), registries)
    for expected in (
        "trainin: no such key",
        "optimizer.lr=-1: input should",
        "loss=dise: must be one of",
        str(plan)[:9],
    ):
        assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("content", "expected"),
    [(None, "cannot be read"), ("a: [1\n", "cannot be read"), ("- a\n- b\n", "must be a mapping")],
)
def test_a_file_that_is_no_plan_is_refused(plan, content, expected):
    if content:
        plan.write_text(content)
    with pytest.raises(ConfigError, match=expected):
        with_plans([f"+plan={plan}"])
