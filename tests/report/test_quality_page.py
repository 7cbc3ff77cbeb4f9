"""The quality page shows every remark and case, escapes what files say, and is written whole or not at all."""

import json

import pytest

from segpipe.datasets.quality.issues import CaseQuality, Issue, Quality
from segpipe.errors import OutputError
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
