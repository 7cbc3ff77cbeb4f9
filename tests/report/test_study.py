"""The figures of a study."""

from segpipe.report.study import rate_curves, rate_sensitivity


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
