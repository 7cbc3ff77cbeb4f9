import re
from html.parser import HTMLParser

import numpy as np
import pytest

from segpipe.case import Case
from segpipe.errors import OutputError
from segpipe.geometry import Grid
from segpipe.report.figures import bland_altman, curve_panels, learning_curves
from segpipe.report.overlays import overlay
from segpipe.report.page import write_report
from segpipe.report.style import new_figure

EVIL = '<script>alert("x")</script><img src=x onerror=alert(1)>'
CASES = [
    {
        "case": f"P{number:02d}",
        "dice": number / 20,
        "reference_mm3": 100.0,
        "predicted_mm3": 90.0,
        "tp": 1,
        "fp": 0,
        "fn": 0,
    }
    for number in range(12)
]
LESIONS = [{"case": "P00", "kind": "reference", "number": 1, "matched": None, "diameter_mm": 6.0, "overlap": 0.0}]
SUMMARY = {
    "data": "phantom",
    "data_hash": "0123456789abcdef",
    "cases": 12,
    "patients": 11,
    "metrics": {"dice": {"mean": 0.275, "median": 0.27, "std": 0.18, "ci95": [0.2, 0.35], "n": 12}},
    "lesions": {"tp": 11, "fp": 0, "fn": 1, "f1": 0.957, "ci95": {"f1": [0.9, 1.0]}, "fp_per_scan": 0.0},
    "detection": None,
    "strata": {"diameter": {"6-8 mm": {"lesions": 12, "found": 11, "sensitivity": 0.917}}},
    "empty": {"both": 2},
    "policy": {"std": "over cases, with n - 1"},
}


class Page(HTMLParser):
    """Collects what the tests ask about."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.ids, self.links, self.words, self.attributes = [], [], [], [], set()
        self.text = text
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            self.attributes.add(name)
            if name == "id":
                self.ids.append(value)
            if name in ("src", "href", "xlink:href", "action", "data", "poster", "srcset"):
                self.links.append(value)

    def handle_data(self, data):
        self.words.append(data.strip())


@pytest.fixture
def write(tmp_path):
    def make(**changes):
        content = {
            "title": "lung_nodule: 12 held-out cases of phantom",
            "summary": SUMMARY,
            "cases": CASES,
            "lesions": LESIONS,
            "figures": {
                "learning_curves": learning_curves([{"step": 1, "train/loss": 1.0}]),
                "bland_altman": bland_altman(CASES),
                "overlay_worst": new_figure(8, 3),
            },
            "config": {"network": {"name": "unet"}},
            "environment": {"python": "3.11.2"},
        }
        return Page(write_report(tmp_path, **{**content, **changes}).read_text(encoding="utf-8"))

    return make


def test_the_page_needs_no_network(write):
    page = write()
    assert all(link.startswith(("#", "data:image/")) for link in page.links)
    assert not {"link", "iframe", "object", "embed", "base"} & set(page.tags)
    assert not re.search(r"@import|url\((?!#)", page.text)
    assert "default-src 'none'" in page.text


def test_every_figure_is_on_the_page_and_no_id_twice(write):
    page = write()
    assert {"learning_curves", "bland_altman", "overlay_worst"} <= set(page.ids)
    assert page.tags.count("figure") == 3
    assert len(page.ids) == len(set(page.ids))
    assert page.tags.count("button") == 2  # one case to enlarge, and the one that closes the large view


def test_links_inside_the_page_have_targets(write):
    page = write()
    assert {link.removeprefix("#") for link in page.links if link.startswith("#")} <= set(page.ids)


def test_headlines_have_their_intervals(write):
    words = write().words
    assert words[words.index("Dice, mean") :][2:5:2] == ["0.275", "0.200 to 0.350"]
    assert words[words.index("Lesion F1") :][2:5:2] == ["0.957", "0.900 to 1.000"]
    assert "CPM" not in words


def test_what_a_private_training_promises_is_on_the_page(write):
    assert "differential privacy" not in write().text
    text = write(summary={**SUMMARY, "privacy": {"epsilon": 7.993, "delta": 0.002, "randomness": "system"}}).text
    assert "Trained with differential privacy: ε = 8.00 at δ = 0.002 per patient" in text
    assert "the choice of hyper-parameters is not counted" in text


def test_the_ten_worst_cases_come_first_and_all_cases_are_there(write):
    text = write().text
    worst, everything = text.split("The worst cases by Dice")[1].split("All 12 cases")
    assert re.findall(r">(P\d\d)<", worst) == [f"P{number:02d}" for number in range(10)]
    assert re.findall(r">(P\d\d)<", everything.split("All 1 lesions")[0]) == [f"P{number:02d}" for number in range(12)]


def test_a_long_table_is_cut_and_says_where_the_rest_is(write):
    page = write(cases=[{**CASES[0], "case": f"L{number}"} for number in range(501)])
    assert "The first 500 of 501 cases (all are in cases.csv)" in page.text
    assert ">L499<" in page.text
    assert ">L500<" not in page.text.split("The first 500")[1]


def test_a_picture_of_a_noisy_scan_stays_small_enough_to_be_mailed_by_the_dozen(write):
    rng = np.random.default_rng(0)
    shape = (200, 200, 40)
    mask = np.zeros(shape, dtype=np.uint8)
    mask[90:100, 90:100, 18:22] = 1
    image = rng.normal(-700, 200, shape).astype(np.int16)
    picture = overlay(Case("a", image, Grid(shape, np.diag([1.0, 1.0, 2.0, 1.0])), mask), mask, "t")
    page = write(figures={"overlay_worst": picture})
    assert "data:image/png" not in page.text
    assert len(page.text) < 400_000


def test_a_phantom_is_called_one_and_real_data_are_not(write):
    assert "Phantom: generated scans" in write().text
    assert "Phantom" not in write(summary={**SUMMARY, "data": "LIDC"}, title="t").text


@pytest.mark.parametrize("where", ["title", "config", "environment", "cases", "summary", "figures"])
def test_no_text_of_the_data_becomes_markup(write, where):
    figure = new_figure(4, 3)
    figure.suptitle(EVIL)
    evil = {
        "title": EVIL,
        "config": {EVIL: EVIL},
        "environment": {EVIL: EVIL},
        "cases": [{**CASES[0], "case": EVIL, EVIL: EVIL}],
        "summary": {**SUMMARY, "data": EVIL, "policy": {EVIL: EVIL}, "strata": {EVIL: {EVIL: {EVIL: 1}}}},
        "figures": {"overlay_worst": figure},
    }
    page = write(**{where: evil[where]})
    assert page.tags.count("script") == 1
    assert "img" not in page.tags
    assert "onerror" not in page.attributes


def test_the_name_of_a_figure_cannot_leave_its_attribute(write):
    page = write(figures={'overlay" onload="alert(1)': new_figure(4, 3)})
    assert "onload" not in page.attributes


def test_a_run_without_cases_still_has_a_page(write):
    page = write(summary={"cases": 0}, cases=[], lesions=[], figures={})
    assert "figure" not in page.tags
    assert "The worst cases by Dice" not in page.text


def test_nothing_half_written_is_left(write, tmp_path):
    write()
    assert [item.name for item in tmp_path.iterdir()] == ["report.html"]


def test_a_folder_that_cannot_be_written_is_reported(write, tmp_path):
    (tmp_path / "report.html").mkdir()
    with pytest.raises(OutputError, match="the report cannot be written"):
        write()


def test_training_curves_have_a_section_of_their_own_and_no_figure_is_wider_than_the_page(write):
    page = write(figures=curve_panels([{"step": 1, "train/loss": 1.0, "val/pseudo_dice": 0.5}]))
    assert {"training", "curve_loss", "curve_pseudo_dice"} <= set(page.ids)
    assert "charts" not in page.ids
    assert "it steers, and is no result" in page.text
    assert "training" not in write(figures={}).ids


def test_the_headlines_are_explained_those_that_are_there(write):
    text = write(summary={**SUMMARY, "metrics": {"nsd": {"mean": 0.5, "tolerance_mm": 1.0}}}).text
    assert "within 1 mm of the other" in text
    assert "CPM" not in text


def test_lists_of_records_stay_in_the_csv(write):
    facts = {"extra_nodules": [{"texture": "solid"}], "extra_spacing_mm": [1.0, 1.0, 2.0]}
    text = write(cases=[{**CASES[0], **facts}]).text
    assert "texture" not in text
    assert "1.000, 1.000, 2.000" in text
