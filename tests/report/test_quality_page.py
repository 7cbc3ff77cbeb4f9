"""The quality page shows every remark and case, escapes what files say, and is written whole or not at all."""

import json
import re

import pytest

from segpipe.datasets.quality.issues import CaseQuality, Issue, Quality
from segpipe.errors import OutputError
from segpipe.report import quality_page
from segpipe.report.quality_page import write_quality

_FACTS = {"shape": [5, 6, 7], "spacing_mm": [1.0, 1.0, 2.5], "orientation": "LPS", "lesions": 2, "lesion_mm3": 1234.5}


def _quality():
    issue = Issue("error", "bad labels", "the mask holds values outside <the> label map", {"found": "3 & 4"}, "b")
    return Quality("mine", (CaseQuality("a", (), _FACTS, "d", b"picture"), CaseQuality("b", (issue,), {})))


def test_page_and_json_say_the_same(tmp_path):
    file, page = write_quality(_quality(), tmp_path)
    content = json.loads(file.read_text())
    assert (content["data"], content["cases"], content["errors"], content["warnings"]) == ("mine", 2, 1, 0)
    text = page.read_text()
    assert "the mask holds values outside &lt;the&gt; label map" in text
    assert "found: 3 &amp; 4" in text
    assert "5 × 6 × 7" in text
    assert "data:image/png;base64,cGljdHVyZQ==" in text
    assert text.index('id="case-b"') < text.index('id="case-a"')
    assert "http" not in text.replace("http-equiv", "")


def test_a_clean_data_set_is_said_to_be_clean(tmp_path):
    _, page = write_quality(Quality("mine", (CaseQuality("a", (), _FACTS, "d", b"x"),)), tmp_path)
    assert "Nothing is wrong" in page.read_text()


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "none").write_text("a file in its place")
    with pytest.raises(OutputError, match="cannot be written"):
        write_quality(_quality(), tmp_path / "none")


def _many(count):
    cases = [CaseQuality(f"case_{number}", (), _FACTS, "d", b"picture") for number in range(count)]
    issue = Issue("error", "bad labels", "the mask is damaged", {}, "case_4")
    return Quality("mine", (*cases[:4], CaseQuality("case_4", (issue,), _FACTS, "d", b"picture"), *cases[5:]))


def test_many_cases_are_on_several_pages_the_bad_ones_on_the_first(tmp_path, monkeypatch):
    monkeypatch.setattr(quality_page, "CASES_A_PAGE", 2)
    _, page = write_quality(_many(5), tmp_path)
    pages = [page, tmp_path / "quality-pages" / "2.html", tmp_path / "quality-pages" / "3.html"]
    shown = [re.findall(r'id="case-(\w+)"', one.read_text()) for one in pages]
    assert shown == [["case_4", "case_0"], ["case_1", "case_2"], ["case_3"]]
    assert 'href="quality-pages/2.html#cases"' in page.read_text()
    assert 'href="../quality.html#cases"' in pages[1].read_text()
    assert 'href="../quality-pages/3.html#cases"' in pages[1].read_text()
    assert "Nothing is wrong with the cases of this page" in pages[2].read_text()


def test_pages_of_an_earlier_check_of_more_cases_are_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(quality_page, "CASES_A_PAGE", 2)
    write_quality(_many(5), tmp_path)
    _, page = write_quality(_quality(), tmp_path)
    assert list((tmp_path / "quality-pages").iterdir()) == []
    assert "quality-pages" not in page.read_text()


def test_of_very_many_issues_the_page_has_the_first(tmp_path, monkeypatch):
    monkeypatch.setattr(quality_page, "MOST_ISSUES", 1)
    issues = tuple(Issue("warning", "odd", f"remark {number}", {}, "a") for number in range(3))
    _, page = write_quality(Quality("mine", (CaseQuality("a", issues, {}),)), tmp_path)
    assert "The first 1 of 3; all are in quality.json." in page.read_text()


def test_a_remark_on_a_case_of_another_page_is_no_broken_link(tmp_path, monkeypatch):
    monkeypatch.setattr(quality_page, "CASES_A_PAGE", 1)
    issue = Issue("warning", "odd", "a remark", {}, "b")
    quality = Quality("mine", (CaseQuality("a", (issue,), {}), CaseQuality("b", (issue,), {})))
    text = write_quality(quality, tmp_path)[1].read_text()
    assert 'href="#case-b"' not in text
