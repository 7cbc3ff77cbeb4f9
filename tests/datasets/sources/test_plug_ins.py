"""Data sources of other packages: chosen by name, listed in the help, and harming nobody else when they are broken."""

import pytest

from segpipe.cli.ingest import run
from segpipe.datasets.sources.registry import SOURCES, find_source, working_sources
from segpipe.errors import ConfigError
from tests.parts.plug_ins import install

MODULE = """
from segpipe.datasets.sources.base import Flag, Source
from segpipe.errors import ImageError

def read(request):
    raise ImageError("read with", facts={"shade": request.options["shade"], "cases": request.options["cases"]})

GREY = Source("grey scans of ours", read, flags=(Flag("shade", "how grey"), Flag("cases", "how many", kind=int)))
NONE = 3
"""
POINTS = "[segpipe.sources]\ngrey = PKG.own:GREY\nnone = PKG.own:NONE\ngone = PKG.own:GONE\n"


@pytest.fixture(autouse=True)
def package(tmp_path, monkeypatch):
    return install(tmp_path / "site", monkeypatch, {"own": MODULE}, POINTS)


def test_a_source_of_a_plug_in_is_read_with_its_own_flags(tmp_path, capsys):
    words = ["--source", "grey", "--input", str(tmp_path), "--output", str(tmp_path / "out"), "--shade", "dark"]
    with pytest.raises(Exception, match="read with") as caught:
        run([*words, "--cases", "3"])
    assert caught.value.facts == {"shade": "dark", "cases": 3}
    with pytest.raises(SystemExit):
        run(["--help"])
    text = capsys.readouterr().out
    assert "grey             grey scans of ours" in text
    assert "how grey (grey)" in " ".join(text.split())


def test_broken_sources_are_explained_where_they_are_chosen():
    assert set(SOURCES) - set(working_sources()) == {"none", "gone"}
    with pytest.raises(ConfigError, match="the source of a plug-in cannot be imported"):
        find_source("gone")
    with pytest.raises(ConfigError, match="a plug-in's source must be a segpipe") as caught:
        find_source("none")
    assert caught.value.facts == {"source": "none", "found": "int"}
    with pytest.raises(ConfigError, match="unknown source"):
        find_source("grei")
