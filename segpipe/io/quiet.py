"""Keeps libraries from speaking of the files they read and write: what they warn of quotes names, dates and UIDs."""

import logging
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from contextvars import ContextVar
from threading import Lock
from typing import Any

_LIBRARIES = ("pydicom", "highdicom", "nibabel", "pynetdicom", "urllib3")
_quiet: ContextVar[bool] = ContextVar("quiet", default=False)


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Inside the block this thread's libraries neither warn, log nor print; other threads' do as before."""
    _install_filters()
    token = _quiet.set(True)
    with ExitStack() as stack:
        stack.callback(_quiet.reset, token)
        for library, switch in _SWITCHES.items():
            if library in sys.modules:
                stack.enter_context(switch)
        yield


@contextmanager
def quiet_foreign_threads() -> Iterator[None]:
    """Inside the block the libraries are silent in all threads: for those that a library starts by itself."""
    _install_filters()
    with _FOREIGN, _SWITCHES["pydicom"]:
        yield


class _Silence(logging.Filter):
    """Holds back what a thread says inside a quiet block: as a filter of loggers and as a pattern of warnings."""

    def filter(self, record: logging.LogRecord) -> bool:
        """False inside a quiet block."""
        return not (_quiet.get() or _FOREIGN.inside)

    def match(self, message: str) -> bool:
        """True inside a quiet block: `warnings` asks the pattern of a filter in this way."""
        return _quiet.get()


class _OfLibraries:
    """A pattern of modules, as `warnings` asks it: those of the libraries, while their own threads must be silent."""

    def match(self, module: str) -> bool:
        return bool(_FOREIGN.inside) and module.partition(".")[0] in _LIBRARIES


_SILENCE = _Silence()
_IGNORE: list[Any] = [("ignore", _SILENCE, Warning, None, 0), ("ignore", None, Warning, _OfLibraries(), 0)]


def _install_filters() -> None:
    """Filters are added once and stay, since they hold back nothing outside quiet blocks.

    `warnings.catch_warnings` is no help here: it exchanges the filters of all threads, and two that overlap may put
    the wrong ones back.
    """
    filters: Any = warnings.filters
    if filters[:2] != _IGNORE:  # others came before them; at no time are there none
        filters[:0] = _IGNORE
        filters[2:] = [one for one in filters[2:] if one not in _IGNORE]
    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] in _LIBRARIES:
            logging.getLogger(name).addFilter(_SILENCE)


class _Shared:
    """A switch of the whole process: the first of the blocks that overlap turns it off, the last one back."""

    def __init__(self, turn_off: Callable[[], AbstractContextManager[Any]]) -> None:
        self._turn_off = turn_off
        self._lock, self._stack, self.inside = Lock(), ExitStack(), 0

    def __enter__(self) -> None:
        with self._lock:
            if not self.inside:
                self._stack.enter_context(self._turn_off())
            self.inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self.inside -= 1
            if not self.inside:
                self._stack.close()


def _pydicom_validates() -> AbstractContextManager[Any]:
    import pydicom

    return pydicom.config.disable_value_validation()


@contextmanager
def _itk_prints() -> Iterator[None]:
    from SimpleITK import ProcessObject

    before = ProcessObject.GetGlobalWarningDisplay()
    ProcessObject.SetGlobalWarningDisplay(False)
    yield
    ProcessObject.SetGlobalWarningDisplay(before)


@contextmanager
def _gdcm_prints() -> Iterator[None]:
    from gdcm import Trace

    before = Trace.GetWarningFlag(), Trace.GetErrorFlag()
    Trace.SetWarning(False)
    Trace.SetError(False)
    yield
    Trace.SetWarning(before[0])
    Trace.SetError(before[1])


@contextmanager
def _foreign_threads_die_quietly() -> Iterator[None]:
    """An error that ends a thread of a library may quote what a peer has sent."""
    before = threading.excepthook

    def report(error: threading.ExceptHookArgs) -> None:
        if type(error.thread).__module__.partition(".")[0] not in _LIBRARIES:
            before(error)

    threading.excepthook = report
    yield
    threading.excepthook = before


_FOREIGN = _Shared(_foreign_threads_die_quietly)
_SWITCHES = {
    "pydicom": _Shared(_pydicom_validates),
    "SimpleITK": _Shared(_itk_prints),
    "gdcm": _Shared(_gdcm_prints),
}
