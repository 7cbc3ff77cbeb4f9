"""A training that lies far behind another one ends after a validation, and no other does."""

import pytest

from segpipe.pipelines.studies.outcomes import curve
from tests.support.runs import fit_words, saved_step

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("reached", "after", "margin", "steps"),
    [
        ("{2:1.5}", 2, 0.1, 2),
        ("{2:1.5}", 2, 2.0, 6),  # not far enough behind
        ("{2:1.5,4:1.5}", 3, 0.1, 4),  # too early to say
        ("{6:1.5}", 0, 0.1, 6),  # at the end nothing is saved by it
    ],
)
def test_a_training_ends_when_it_lies_far_behind(tiny_words, tmp_path, reached, after, margin, steps):
    stop = f"{{_target_:segpipe.training.pruning.StopsBehind,reached:{reached},after:{after},margin:{margin}}}"
    words = [*tiny_words, "trainer.max_steps=6", "training.validate_every=2", f"callbacks=[{stop}]"]
    fit_words(words, tmp_path)
    assert saved_step(tmp_path) == steps
    assert list(curve(tmp_path)) == list(range(2, steps + 1, 2))  # the steps that others are compared at
