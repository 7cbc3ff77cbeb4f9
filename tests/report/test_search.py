"""The figures of a search."""

import pytest

from segpipe.report.search import draw_history, draw_importance, draw_parallel


@pytest.mark.parametrize(("largest", "best"), [(True, [0.4, 0.4, 0.7]), (False, [0.4, 0.2, 0.2])])
def test_the_best_so_far_is_drawn_over_the_trials(largest, best):
    points = {0: (0.4, "complete"), 1: (0.1, "pruned"), 3: (0.7, "complete"), 2: (0.2, "complete")}
    figure = draw_history(points, objective="val/pseudo_dice", largest=largest)
    given_up, trained, line = figure.axes[0].get_lines()
    assert list(given_up.get_xdata()) == [1]
    assert list(zip(trained.get_xdata(), trained.get_ydata(), strict=True)) == [(0, 0.4), (2, 0.2), (3, 0.7)]
    assert list(line.get_ydata()) == best


def test_the_most_important_key_is_on_top():
    figure = draw_importance({"a": 0.1, "b": 0.7, "c": 0.2}, trials=9)
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["a", "c", "b"]
    assert figure.axes[0].get_title(loc="left") == "Importance (PED-ANOVA of 9 trials)"


def test_each_trial_is_a_line_through_what_it_chose_and_the_best_is_darkest():
    trials = [
        ({"lr": 1e-4, "loss": "dice"}, 0.2),
        ({"lr": 1e-2, "loss": "focal"}, 0.6),
        ({"lr": 1e-3, "loss": "dice"}, 0.4),
    ]
    figure = draw_parallel(trials, objective="f", largest=True)
    lines = [line for line in figure.axes[0].get_lines() if len(line.get_xdata()) == 3 and line.get_alpha()]
    assert [[round(float(place), 3) for place in line.get_ydata()] for line in lines] == [
        [0.0, 0.0, 0.0],
        [0.5, 0.0, 0.5],
        [1.0, 1.0, 1.0],
    ]
    assert [line.get_alpha() for line in lines] == pytest.approx([0.12, 0.34, 1.0])
    smallest = draw_parallel(trials, objective="f", largest=False).axes[0].get_lines()[2]
    assert float(smallest.get_ydata()[-1]) == 0.0


def test_trials_that_are_all_alike_are_drawn_too():
    figure = draw_parallel([({"lr": 1}, 0.5), ({"lr": 1}, 0.5)], objective="f", largest=True)
    assert [text.get_text() for text in figure.axes[0].texts] == ["1", "0.5"]
