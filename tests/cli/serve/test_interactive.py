"""The flags of the interactive service: contradictions are reported before the model is opened."""

import pytest

from segpipe.cli.serve.command import run
from segpipe.cli.serve.flags import parse_flags
from segpipe.errors import ConfigError, ModelError

NEEDED = ["--model", "m", "--interactive"]


def test_neither_a_pacs_nor_a_state_is_needed():
    given = parse_flags(NEEDED)
    assert (given.host, given.sessions, given.idle) == ("127.0.0.1", 8, 30.0)


def test_a_worker_needs_both():
    with pytest.raises(ConfigError, match=r"required: --dicomweb, --state\n.*or --interactive"):
        parse_flags(NEEDED[:2])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--state", "s", "--once"], "not for --interactive\n  found  --state --once"),
        (["--sessions", "0"], "--sessions must be at least 1"),
        (["--idle", "0"], "--idle above 0"),
        (["--host", "0.0.0.0"], "a service that other machines reach needs a user\n  host  0.0.0.0"),
    ],
)
def test_mistakes(words, message):
    with pytest.raises(ConfigError, match=message):
        parse_flags([*NEEDED, *words])


def test_other_machines_may_reach_a_service_with_a_user(monkeypatch):
    monkeypatch.setenv("PASSWORD", "sesame")
    words = ["--host", "0.0.0.0", "--page-user", "me", "--page-password-env", "PASSWORD"]
    assert parse_flags([*NEEDED, *words]).page_password == "sesame"


def test_a_model_of_whole_scans_is_refused(chest_model):
    with pytest.raises(ModelError, match="only a model of single lesions can follow a reader"):
        run(["--model", str(chest_model), "--interactive"])
