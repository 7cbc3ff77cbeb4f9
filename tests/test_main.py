"""The first contact: help, version and a mistyped verb."""

import os
import subprocess
import sys

import pytest

from segpipe import __version__
from segpipe.__main__ import VERBS, main
from segpipe.config.folder import experiments
from segpipe.spelling import nearest

HEAVY = ("torch", "monai", "mlflow", "SimpleITK", "pandas", "scipy", "matplotlib", "hydra", "numpy")


def test_help_lists_verbs_and_experiments(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for word in [*VERBS, *experiments()]:
        assert word in text


def test_help_imports_nothing_heavy():
    look = f"print([name for name in {HEAVY} if name in sys.modules])"
    code = f"import sys; from segpipe.__main__ import main; main(['--help']); {look}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.rstrip().endswith("[]")


def test_version(capsys):
    assert main(["--version"]) == 0
    assert __version__ in capsys.readouterr().out


@pytest.mark.parametrize("flags", [[], ["-u"]])  # it is noticed when the process ends, or when it prints
def test_a_reader_that_has_enough_is_no_error(flags):
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, *flags, "-m", "segpipe", "--help"]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")


def test_an_unknown_verb_is_refused_with_the_nearest(capsys):
    assert main(["pedict"]) == 2
    error = capsys.readouterr().err
    assert "unknown verb" in error
    assert "python -m segpipe predict" in error


def test_mistakes_exit_with_2(capsys):
    assert main(["optimzer.lr=1"]) == 2
    assert "did you mean optimizer.lr?" in capsys.readouterr().err


@pytest.mark.parametrize(("word", "expected"), [("adamv", "adamw"), ("zzz", None)])
def test_nearest(word, expected):
    assert nearest(word, ["adamw", "sgd"]) == expected
