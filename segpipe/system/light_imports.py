"""Imports MONAI and Lightning without the libraries that few of their parts use: each is imported when it is used.

MONAI imports all of itself and every library that it can work with, which is two fifths of what a prediction takes to
start. Where Jupyter is installed, jsonschema builds a grammar of addresses on top, which nobody here asks it for.
"""

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from pkgutil import resolve_name
from types import ModuleType
from typing import Any

USED_RARELY_BY_MONAI = (
    "matplotlib",
    "matplotlib.pyplot",
    "mlflow",
    "mlflow.entities",
    "mlflow.exceptions",
    "pandas",
    "rfc3987_syntax",
    "scipy.signal",
    "sklearn",
    "sklearn.linear_model",
    "sklearn.metrics",
)
USED_RARELY_BY_LIGHTNING = ("scipy.signal",)  # for figures of sound
WITHOUT_PARTS = frozenset({"rfc3987_syntax"})  # of which a function is taken, and no module inside


def import_monai() -> None:
    """Imports MONAI; what it rarely uses and is not imported yet stays so, and MONAI finds it all the same."""
    _import_without("monai", USED_RARELY_BY_MONAI)


def import_lightning() -> None:
    """Imports Lightning, likewise."""
    _import_without("pytorch_lightning", USED_RARELY_BY_LIGHTNING)


def _import_without(library: str, rarely_used: Sequence[str]) -> None:
    specs = {name: _spec_of(name) for name in rarely_used if name not in sys.modules}
    postponed = {name: Postponed(name, spec) for name, spec in specs.items() if spec}
    sys.modules.update(postponed)
    try:
        import_module(library)
    finally:
        for name, stand_in in postponed.items():
            if sys.modules.get(name) is stand_in:
                del sys.modules[name]


class Postponed(ModuleType):
    """Stands for a library, or for a function or class of one, until it is used."""

    __file__ = "<imported when it is used>"  # MONAI takes a module without a file for no library

    def __init__(self, name: str, spec: ModuleSpec | None = None) -> None:
        super().__init__(name)
        if name in WITHOUT_PARTS:
            self.__path__: list[str] = []  # which `from NAME import` asks for
        self.__spec__ = spec  # by which others find out, while MONAI imports them, whether there is such a library

    def __getattr__(self, name: str) -> Any:
        """What the library has by that name; while MONAI is imported, what stands for it."""
        being_imported = sys.modules.get(self.__name__) is self
        if being_imported and not name.startswith("__"):
            return Postponed(f"{self.__name__}.{name}")
        if being_imported:  # by a library that wants more than names of it
            del sys.modules[self.__name__]
        return getattr(self._found(), name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the function or class."""
        return self._found()(*args, **kwargs)

    def __instancecheck__(self, instance: object) -> bool:
        """Whether something is of the class."""
        return isinstance(instance, self._found())

    def _found(self) -> Any:
        return resolve_name(self.__name__)


def _spec_of(name: str) -> ModuleSpec | None:
    """Where a library lies, without an import of it or of the package that it is a part of; None if there is none."""
    package, _, part = name.rpartition(".")
    if not package:
        return find_spec(part)
    whole = _spec_of(package)
    return PathFinder.find_spec(name, whole.submodule_search_locations) if whole else None
