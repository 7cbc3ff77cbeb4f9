"""What a run does before its data are prepared."""

import pytest

from segpipe.cli.train import registries
from segpipe.config.check import settings_of
from segpipe.config.compose import compose
from segpipe.errors import ServiceError
from segpipe.pipelines import single_run


class PreparingError(Exception):
    """The run has come to its data."""


@pytest.mark.parametrize(("restarts", "expected"), [("0", ServiceError), ("1", PreparingError)])
def test_a_job_that_slurm_starts_again_does_not_need_the_tracking_server(monkeypatch, tmp_path, restarts, expected):
    def prepare(*_):
        raise PreparingError

    def refuse(_):
        raise ServiceError("the server does not answer")

    monkeypatch.setattr(single_run, "prepare_data", prepare)
    monkeypatch.setattr(single_run, "ask_tracker", refuse)
    monkeypatch.setenv("SLURM_RESTART_COUNT", restarts)
    settings = settings_of(compose(["trainer=cpu"], registries), registries())
    with pytest.raises(expected):
        single_run.run_single(settings, {}, tmp_path)
