"""The figures of a study."""

from segpipe.report.study import differences_to, rate_curves, rate_sensitivity
from segpipe.report.style import FAINT


def test_each_candidate_has_a_panel_with_a_line_for_each_rate_and_the_chosen_one_is_thick():
    figure = rate_curves({"adam": {0.1: {2: 0.3, 4: 0.5}, 0.01: {2: 0.2}}, "sgd": {1.0: {}}}, {"adam": 0.1}, data="x")
    adam, sgd = figure.axes
    thin, thick = adam.get_lines()  # by rate
    assert list(thick.get_xdata()) == [2, 4]
    assert list(thick.get_ydata()) == [0.3, 0.5]
    assert thick.get_linewidth() > thin.get_linewidth()
    assert (adam.get_title(loc="left"), sgd.get_title(loc="left")) == ("adam", "sgd")
    assert figure.get_suptitle() == "Learning rates · x"


def test_rates_are_drawn_as_multiples_of_the_best():
    figure = rate_sensitivity({"adam": {10.0: 0.2, 1.0: 0.6, 0.1: 0.4}})
    line = figure.axes[0].get_lines()[0]
    assert list(line.get_xdata()) == [0.1, 1.0, 10.0]
    assert list(line.get_ydata()) == [0.4, 0.6, 0.2]
    assert figure.axes[0].get_xscale() == "log"


def test_each_difference_has_its_interval_and_those_that_may_be_nought_are_pale():
    figure = differences_to(
        "default", {"mixup": (0.02, (0.01, 0.03)), "none": (-0.01, (-0.03, 0.005)), "x": (0.1, None)}
    )
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["mixup", "none", "x"]
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # the best on top
    intervals = [line for line in axes.lines if len(line.get_xdata()) == 2][:3]
    assert [list(line.get_xdata()) for line in intervals] == [[0.01, 0.03], [-0.03, 0.005], [0.1, 0.1]]
    assert intervals[0].get_color() != intervals[1].get_color() == FAINT
