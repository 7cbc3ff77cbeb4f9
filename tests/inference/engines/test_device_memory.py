"""What fits into the memory of a device, and what is done when it does not: tried with limits that are made up."""

import numpy as np
import pytest
import torch

from segpipe.case import Case
from segpipe.geometry import Grid
from segpipe.inference import painting
from segpipe.inference.engines.device_memory import CPU, FittingBatches, choose_place, fit_batch, memory_of
from segpipe.inference.options import PredictOptions
from segpipe.inference.predictor import predict_case
from segpipe.preprocessing.recipe import Recipe

RECIPE = Recipe("test", (1.0, 1.0, 1.0), (-1000.0, 400.0), (8, 8, 8))
META = torch.device("meta")


class Memory:
    """As of a device that holds `total` bytes, of which a window takes 100."""

    def __init__(self, total):
        self.total = total

    def free(self):
        return self.total

    def peak_of(self, work):
        work()
        return 100


class Limited:
    """A network that does not fit with more than `most` windows."""

    def __init__(self, most, batch=8):
        self.most, self.batch, self.sizes = most, batch, []

    def __call__(self, patches):
        self.sizes.append(len(patches))
        if len(patches) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return (patches * 2 - 0.5).clamp(0, 1)


def scan():
    shape = (20, 20, 12)
    image = np.random.default_rng(0).integers(-1000, 300, shape).astype(np.int16)
    return Case("a", image, Grid(shape, np.diag([-1.0, -1.0, 1.0, 1.0])))


def predict(engine):
    options = PredictOptions(region=None, flips=(0,))
    return predict_case(scan(), RECIPE, engine, options, divisor=(1, 1, 1))


@pytest.mark.parametrize(("total", "expected"), [(50, 1), (250, 2), (400, 3), (10**6, 4)])
def test_as_many_windows_as_fit_are_taken_at_once(total, expected):
    assert fit_batch(Limited(8), (8, 8, 8), Memory(total), most=4) == expected


def test_a_window_that_does_not_fit_is_left_to_the_first_scan():
    assert fit_batch(Limited(0), (8, 8, 8), Memory(10**6)) == 1
    with pytest.raises(torch.OutOfMemoryError):
        predict(Limited(0))


@pytest.mark.parametrize("most", [1, 2, 3, 5])
def test_a_batch_that_does_not_fit_is_halved_and_the_result_is_the_same(most):
    wanted, limited = predict(Limited(8)), Limited(most)
    found = predict(limited)
    np.testing.assert_array_equal(found.mask, wanted.mask)
    np.testing.assert_array_equal(found.probability, wanted.probability)
    assert found.findings == wanted.findings
    failed = [size for size in limited.sizes if size > most]
    assert failed == [8, 4, 2][: len(failed)], "what did not fit once is not tried again"


def test_what_was_halved_stays_so():
    sizes = []
    fitting = FittingBatches(lambda patches: sizes.append(len(patches)) or Limited(3)(patches))
    patches = torch.rand(7, 1, 2, 2, 2)
    for _ in range(2):
        torch.testing.assert_close(fitting(patches), Limited(9)(patches), rtol=0, atol=0)
    assert sizes == [7, 3, 3, 1, 3, 3, 1]


def test_a_layer_is_summed_up_next_to_the_network_when_it_takes_a_quarter_at_most():
    engine = Limited(8)
    assert choose_place(engine, 1) == CPU
    engine.device = META
    assert choose_place(engine, 100, Memory(400)) == META
    assert choose_place(engine, 101, Memory(400)) == CPU
    assert memory_of(CPU) is None
    assert choose_place(engine, 1) == CPU, "the memory of this device cannot be asked"


def test_a_layer_for_which_there_is_no_room_after_all_is_summed_up_on_the_cpu(monkeypatch):
    wanted, places = predict(Limited(8)), []
    paint_at = painting.Painting._paint_at

    def full(self, place):
        places.append(place)
        if place == META:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return paint_at(self, place)

    monkeypatch.setattr(painting.Painting, "_paint_at", full)
    monkeypatch.setattr(painting, "choose_place", lambda engine, needed: META)
    found = predict(Limited(8))
    np.testing.assert_array_equal(found.mask, wanted.mask)
    assert places == [META, CPU]
