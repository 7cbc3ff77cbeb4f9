"""MONAI and Lightning start without the libraries that few of their parts use, and these parts find them."""

import ast
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import segpipe
from segpipe.system.light_imports import Postponed, _spec_of

ROOT = Path(segpipe.__file__).parent

STARTED = """
import sys
import segpipe.networks
import segpipe.preprocessing.augmentation
rarely_used = {"matplotlib", "mlflow", "pandas", "rfc3987_syntax", "scipy.signal", "sklearn"}
print(*sorted(rarely_used & set(sys.modules)))
import segpipe.training
print("torchmetrics" in sys.modules, *sorted(rarely_used & set(sys.modules) - {"matplotlib"}))

from monai.data.utils import DataFrame
from monai.metrics.embedding_collapse import sklearn_logistic
from monai.visualize.utils import plt
import pandas
print(isinstance(pandas.DataFrame(), DataFrame), isinstance(1, DataFrame), len(DataFrame({"case": ["a"]})))
print(sklearn_logistic(C=2.0).C, plt.Axes.__name__, len(plt.figure().axes))
import matplotlib.pyplot
print(matplotlib.pyplot.figure is plt.figure, type(matplotlib.pyplot).__name__)
import monai.data.ultrasound_confidence_map as map
print(abs(map.hilbert([1.0, 0.0, -1.0, 0.0])))
from jsonschema import FormatChecker
print([FormatChecker().conforms(text, "iri") for text in ("http://nodule.example/ä", "no iri")])
"""


@pytest.mark.slow
def test_they_start_without_what_they_rarely_use_and_find_it_when_they_do():
    pytest.importorskip("rfc3987_syntax")  # comes with Jupyter
    done = subprocess.run([sys.executable, "-c", STARTED], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "",
        "True",
        "True False 1",
        "2.0 Axes 0",
        "True module",
        "[1. 1. 1. 1.]",
        "[True, False]",
    ]


LIGHTLY = {"monai": "import_monai", "pytorch_lightning": "import_lightning", "lightning_fabric": "import_lightning"}


def imported(file):
    """The libraries that a module imports when it is imported."""
    for line in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(line, ast.ImportFrom) and line.module:
            yield line.module.partition(".")[0]
        elif isinstance(line, ast.Import):
            yield from (name.name.partition(".")[0] for name in line.names)


def test_whoever_imports_them_is_in_a_room_that_imports_them_lightly():
    """Whichever room is imported first: one `from monai …` before its door costs every command two seconds."""
    heavy = []
    for file in ROOT.rglob("*.py"):
        doors = [folder / "__init__.py" for folder in file.parents if folder.is_relative_to(ROOT)]
        opened = "".join(door.read_text(encoding="utf-8") for door in doors)
        asked = {name for name in imported(file) if name in LIGHTLY}
        heavy += [f"{file.relative_to(ROOT)} imports {name}" for name in asked if f"\n{LIGHTLY[name]}()" not in opened]
    assert heavy == []


@pytest.mark.slow
def test_what_monai_finds_installed_imports_the_compiler_whole(tmp_path):
    """PyTorch's compiler asks which libraries there are; it was left half imported where it got no answer."""
    (tmp_path / "transformers.py").write_text("import torch._dynamo")
    asked = "import segpipe.networks, sys, torch; print('transformers' in sys.modules, hasattr(torch._dynamo, 'exc'))"
    done = subprocess.run(
        [sys.executable, "-c", asked],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
    )
    assert done.stdout.split() == ["True", "True"]


def test_a_library_is_found_while_it_is_postponed():
    assert Postponed("json", find_spec("json")).__spec__ == find_spec("json")
    assert _spec_of("xml.dom.minidom") == find_spec("xml.dom.minidom")
    assert _spec_of("no_such.library") is None


def test_who_wants_more_than_names_gets_the_library_itself(monkeypatch):
    monkeypatch.setitem(sys.modules, "xml", Postponed("xml"))
    monkeypatch.delitem(sys.modules, "xml.dom", raising=False)
    import xml.dom

    assert not isinstance(sys.modules["xml"], Postponed)
    assert xml.dom.Node.ELEMENT_NODE == 1


def test_a_name_is_looked_up_when_it_is_used(monkeypatch):
    library = Postponed("fractions")
    monkeypatch.setitem(sys.modules, "fractions", library)
    fraction = library.Fraction
    monkeypatch.delitem(sys.modules, "fractions")
    assert fraction(1, 2) + fraction(1, 3) == library.Fraction(5, 6)
    assert isinstance(fraction(1), fraction)
    assert not isinstance(1.0, fraction)
