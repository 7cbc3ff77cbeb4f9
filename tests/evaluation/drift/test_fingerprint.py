"""What a fingerprint keeps of evaluated scans, and that no scan can be recognised in it."""

from segpipe.evaluation.drift.fingerprint import MOST, fingerprint_of
from segpipe.evaluation.results import CaseResult, PredictedLesion


def lesion(number: int, volume_mm3: float, probability: float | None) -> PredictedLesion:
    return PredictedLesion(number, volume_mm3, 5.0, (0.0, 0.0, 0.0), probability=probability)


def result(*candidates: PredictedLesion, **scan: float) -> CaseResult:
    total = sum(one.volume_mm3 for one in candidates)
    return CaseResult("name", "patient", "no", {}, 0.0, total, candidates=candidates, scan=scan)


def test_each_quantity_is_sorted_for_itself():
    cases = [result(lesion(1, 30.0, 0.9), lesion(2, 10.0, 0.5), noise_hu=30.0), result(noise_hu=10.0, lung_hu=-850.0)]
    assert fingerprint_of(cases) == {
        "scans": 2,
        "values": {
            "noise_hu": [10.0, 30.0],
            "lung_hu": [-850.0],
            "findings": [0.0, 2.0],
            "found_mm3": [0.0, 40.0],
            "largest_mm3": [30.0],
            "probability": [0.8],  # (0.9 · 30 + 0.5 · 10) / 40
        },
    }


def test_cases_whose_scan_was_not_measured_are_left_out():
    assert fingerprint_of([result(lesion(1, 30.0, 0.9))]) == {"scans": 0, "values": {}}


def test_of_masks_alone_no_probability_is_known():
    assert "probability" not in fingerprint_of([result(lesion(1, 30.0, None), noise_hu=1.0)])["values"]


def test_of_very_many_scans_an_even_choice_is_kept():
    found = fingerprint_of([result(noise_hu=float(number)) for number in range(2 * MOST)])
    assert found["scans"] == 2 * MOST
    assert found["values"]["noise_hu"][:3] == [0.0, 2.0, 4.0]
    assert len(found["values"]["noise_hu"]) == MOST
