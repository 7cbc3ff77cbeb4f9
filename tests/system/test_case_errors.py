"""Whatever goes wrong in a case becomes an error that names its kind and keeps nothing of the case alive."""

import gc
import weakref

import numpy as np
import pytest
import torch

from segpipe.errors import ImageError, SegpipeError
from segpipe.system.case_errors import CaseError, as_case_error, attempt


def fail(error):
    raise error


def test_good_work_gives_its_result():
    assert attempt(lambda: 3, case="a") == 3


NUMPY = np._core._exceptions._ArrayMemoryError((2, 2), np.dtype(float))


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory"), NUMPY])
def test_want_of_memory_is_named_with_what_to_try(error):
    found = attempt(lambda: fail(error), case="a")
    assert isinstance(found, CaseError)
    assert found.message == f"{type(error).__name__}: the memory does not suffice for this case"
    assert found.facts == {"case": "a"}
    assert "fewer workers" in found.hint


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (RuntimeError("first line\nsecond line"), "RuntimeError: first line"),
        (KeyError("dice"), "KeyError: 'dice'"),
        (AssertionError(), "AssertionError: no further message"),
        (ValueError("no frame of 1.2.840.99.7.1 at 1.5.2"), "ValueError: no frame of UID at 1.5.2"),
        (ValueError("x" * 1000), "ValueError: " + "x" * 300),
    ],
)
def test_an_unforeseen_error_is_reported_by_its_kind_and_first_line(error, text):
    assert as_case_error(error, case="a").message == text


def test_an_error_that_teaches_stays_as_it_is_and_its_own_facts_win():
    found = attempt(lambda: fail(ImageError("too thin", facts={"case": "own", "mm": 9}, hint="scan again")), case="a")
    assert type(found) is ImageError
    assert (found.facts, found.hint) == ({"case": "own", "mm": 9}, "scan again")


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_goes_through(kind):
    with pytest.raises(kind):
        attempt(lambda: fail(kind()), case="a")


def test_the_error_does_not_keep_the_scan_alive():
    class Scan:
        pass

    alive = []

    def work():
        scan = Scan()
        alive.append(weakref.ref(scan))
        raise SegpipeError("bad")

    found = attempt(work, case="a")
    gc.collect()
    assert alive[0]() is None
    assert found.__traceback__ is None
    assert found.__cause__ is None
    assert found.__context__ is None
