from segpipe.report.comparison import write_comparison


def test_the_page_has_the_sensitivities_along_the_froc_before_and_after(tmp_path):
    row = {"first": {"8": 0.75, "cpm": 0.25}, "second": {"8": 0.875, "cpm": None}, "lesions": 3}
    pair = {
        **{"first": "a", "second": "b", "cases_shared": 2, "patients_shared": 2},
        **{"metrics": {}, "lesions": {}, "strata": {}, "cases": []},
        "froc": {"centre": {"6-8 mm": row}},
    }
    report = {"metric": "dice", "runs": [], "best": "a", "notes": [], "pairs": [pair]}
    page = write_comparison(tmp_path, report).read_text()
    assert "Sensitivity at false positives per scan, A → B" in page
    assert all(text in page for text in (">by centre<", ">6-8 mm<", ">0.75 → 0.88<", ">CPM<", ">0.25 → –<"))
    lacking = write_comparison(tmp_path, {**report, "pairs": [{**pair, "froc": {}}]}).read_text()
    assert "Sensitivity at false positives per scan" not in lacking
