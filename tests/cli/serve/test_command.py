"""The flags of serve: contradictions are reported before model and PACS are touched."""

import signal
from types import SimpleNamespace

import pytest

from segpipe.cli.common.compute_flags import memory_limit
from segpipe.cli.common.point_flags import wish_of
from segpipe.cli.predict import flags as predict_flags
from segpipe.cli.serve import command
from segpipe.cli.serve import flags as serve_flags
from segpipe.cli.serve.flags import parse_flags
from segpipe.errors import ConfigError
from segpipe.serving.worker import Worker
from tests.support.workers import free_port

NEEDED = ["--model", "m", "--dicomweb", "https://pacs/x", "--state", "s"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--dicom-port", "11112"], "a receiver must know who may send"),
        (["--peer", "A@10.0.0.1"], "--peer and --dicom-host need --dicom-port"),
        (["--dicom-host", "127.0.0.1"], "--peer and --dicom-host need --dicom-port"),
        (["--certificate", "a.pem"], "--certificate and --key belong together"),
        (["--user", "me"], "a user needs --password-env"),
        (["--user", "me", "--password-env", "NO_SUCH_VARIABLE"], "the variable with the password is not set"),
        (["--page-password-env", "X"], "a user needs --page-password-env"),
        (["--poll", "0"], "--poll above 0"),
        (["--queue-size", "0"], "--queue-size must be at least 1"),
        (["--nonsense"], "unrecognized arguments"),
    ],
)
def test_mistakes(words, message):
    with pytest.raises(ConfigError, match=message):
        parse_flags([*NEEDED, *words])


def test_memory_is_said_as_in_predict():
    predict_words = ["--model", "m", "--input", "i", "--output", "o"]
    for parse, words in ((serve_flags.parse_flags, NEEDED), (predict_flags.parse_flags, predict_words)):
        assert memory_limit(parse(words)) is None
        assert memory_limit(parse([*words, "--memory", "4GB"])) == 4 * 2**30
        with pytest.raises(ConfigError, match="memory must be an amount like 4GB"):
            memory_limit(parse([*words, "--memory", "much"]))


def test_the_password_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("PACS_PASSWORD", "sesame")
    given = parse_flags([*NEEDED, "--user", "me", "--password-env", "PACS_PASSWORD"])
    assert given.password == "sesame"
    assert given.page_password is None


def test_the_operating_point_is_chosen_as_in_predict():
    wish = wish_of(parse_flags([*NEEDED, "--fp-per-scan", "1"]))
    assert (wish.fp_per_scan, wish.sensitivity) == (1.0, None)
    assert wish_of(parse_flags([*NEEDED, "--sensitivity", "0.9"])).sensitivity == 0.9


@pytest.fixture
def own_signals():
    """The handlers that the command replaces are put back."""
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


def test_what_an_earlier_worker_left_is_taken_up_before_anything_is_received(tmp_path, monkeypatch, own_signals):
    seen = []
    answers = SimpleNamespace(digest="m", bound=SimpleNamespace(limit=1))
    monkeypatch.setattr(command, "_answers", lambda given: answers)
    monkeypatch.setattr(command, "_receiver", lambda *given: seen.append("receives"))
    monkeypatch.setattr(Worker, "resume", lambda worker: seen.append("resumes"))
    monkeypatch.setattr(Worker, "run", lambda worker, stop, *, once: seen.append("runs"))
    address = f"http://127.0.0.1:{free_port()}/dicom-web"
    words = ["--model", "m", "--dicomweb", address, "--state", str(tmp_path / "state"), "--port", "0"]
    assert command.run(words) == 0
    assert seen == ["resumes", "receives", "runs"]
