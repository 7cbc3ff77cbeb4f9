import re

from segpipe.report.style import BLUE, INK, house_style, new_figure, quiet, titled, to_png, to_svg


def drawn():
    with house_style():
        figure = new_figure(3, 2)
        axes = figure.add_subplot()
        axes.plot([0, 1], [0, 1], color=BLUE)
        quiet(axes, title="T", x="x", y="y")
    return figure


def test_inline_svg_follows_the_colours_of_the_page():
    svg = to_svg(drawn(), prefix="a")
    assert svg.startswith("<svg viewBox=")
    assert "var(--c1)" in svg
    assert "var(--ink)" in svg
    assert BLUE not in svg
    assert INK not in svg


def test_ids_of_two_figures_on_a_page_never_meet():
    first, second = (set(re.findall(r'id="([^"]+)"', to_svg(drawn(), prefix=prefix))) for prefix in "ab")
    assert first
    assert not first & second


def test_every_reference_inside_the_svg_has_its_target():
    svg = to_svg(drawn(), prefix="a")
    assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', svg)) <= set(re.findall(r'id="([^"]+)"', svg))


def test_png_and_svg_do_not_change_from_one_call_to_the_next():
    assert to_png(drawn()) == to_png(drawn())
    assert to_svg(drawn(), prefix="a") == to_svg(drawn(), prefix="a")


def test_a_title_names_its_data():
    assert titled("FROC", "phantom") == "FROC · phantom"
    assert titled("FROC", None) == "FROC"
