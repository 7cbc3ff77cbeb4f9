import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segpipe.evaluation.detection.froc import FP_RATES, collect_marks, froc_curve, froc_figures
from segpipe.evaluation.results import CaseResult, PredictedLesion, ReferenceLesion

ORIGIN = (0.0, 0.0, 0.0)


def lesion(number, matched=None):
    return ReferenceLesion(number, 100.0, 6.0, ORIGIN, matched)


def candidate(number, probability, *, matched=None, hits=()):
    return PredictedLesion(number, 100.0, 6.0, ORIGIN, matched, probability=probability, hits=hits)


def case(name, lesions, candidates):
    return CaseResult(name, f"patient of {name}", "no", {}, 0.0, 0.0, tuple(lesions), tuple(candidates))


def two_scans():
    """Three lesions; from the surest candidate on: hit, alarm, hit, two alarms of equal confidence."""
    return [
        case(
            "a",
            [lesion(1, 1), lesion(2)],
            [candidate(1, 0.9, matched=1), candidate(2, 0.8), candidate(3, 0.6), candidate(4, 0.6)],
        ),
        case("b", [lesion(1, 1)], [candidate(1, 0.7, matched=1)]),
    ]


def test_the_points_of_a_curve_by_pencil():
    curve = froc_curve(collect_marks(two_scans(), "overlap"))
    assert curve.threshold.tolist() == [0.9, 0.8, 0.7, 0.6]
    assert curve.sensitivity == pytest.approx([1 / 3, 1 / 3, 2 / 3, 2 / 3])
    assert curve.fp_per_scan.tolist() == [0.0, 0.5, 0.5, 1.5]


def test_sensitivities_at_rates_by_pencil():
    # 1/3 at no alarm, 1/3 up to just below 0.5 alarms a scan, 2/3 from there on.
    curve = froc_curve(collect_marks(two_scans(), "overlap"))
    assert curve.sensitivity_at() == pytest.approx([1 / 3, 1 / 3, 2 / 3, 2 / 3, 2 / 3, 2 / 3, 2 / 3])


def test_average_precision_by_pencil():
    # A third of the lesions at precision 1, a further third at 2/3, the last one never.
    curve = froc_curve(collect_marks(two_scans(), "overlap"))
    assert curve.average_precision == pytest.approx(1 / 3 * 1 + 1 / 3 * 2 / 3)


def test_by_centre_the_surest_hit_counts_and_further_ones_neither_way():
    results = [
        case(
            "a",
            [lesion(1), lesion(2)],
            [candidate(1, 0.4, hits=(1,)), candidate(2, 0.9, hits=(1,)), candidate(3, 0.5)],
        )
    ]
    marks = collect_marks(results, "centre")
    assert marks.confidence.tolist() == [0.9, 0.5]
    assert marks.true.tolist() == [True, False]


def test_one_candidate_may_hit_two_lesions_by_centre():
    results = [case("a", [lesion(1), lesion(2)], [candidate(1, 0.9, hits=(1, 2))])]
    assert froc_curve(collect_marks(results, "centre")).sensitivity.tolist() == [1.0]


def test_masks_without_confidences_have_no_curve():
    results = [case("a", [lesion(1, 1)], [candidate(1, None, matched=1, hits=(1,))])]
    assert collect_marks(results, "overlap") is None
    assert collect_marks(results, "centre") is None


def test_predictions_without_any_candidate_find_nothing():
    curve = froc_curve(collect_marks([case("a", [lesion(1)], [])], "overlap"))
    assert curve.sensitivity_at().tolist() == [0.0] * 7
    assert curve.average_precision == 0.0


def test_a_case_that_weighs_twice_counts_as_two():
    once, twice = two_scans()
    weighted = froc_figures(collect_marks([once, twice], "overlap"), np.array([[1.0, 2.0]]))
    repeated = froc_figures(collect_marks([once, twice, twice], "overlap"), np.ones((1, 3)))
    assert weighted == pytest.approx(repeated)


marks_of_a_case = st.lists(st.tuples(st.sampled_from([0.5, 0.6, 0.7, 0.8, 0.9]), st.booleans()), max_size=6)


@given(st.lists(marks_of_a_case, min_size=1, max_size=6), st.integers(min_value=0, max_value=3))
def test_curves_rise_and_stay_within_bounds(cases, missed):
    results = []
    for number, marks in enumerate(cases):
        found = [index for index, (_, true) in enumerate(marks, start=1) if true]
        lesions = [lesion(n, index) for n, index in enumerate(found, start=1)]
        lesions += [lesion(len(found) + 1 + n) for n in range(missed)]
        lesions += [] if lesions else [lesion(1)]
        candidates = [
            candidate(index, confidence, matched=found.index(index) + 1 if true else None)
            for index, (confidence, true) in enumerate(marks, start=1)
        ]
        results.append(case(str(number), lesions, candidates))
    curve = froc_curve(collect_marks(results, "overlap"))
    assert (np.diff(curve.sensitivity) >= 0).all()
    assert (np.diff(curve.fp_per_scan) >= 0).all()
    at = curve.sensitivity_at()
    assert len(at) == len(FP_RATES)
    assert (np.diff(at) >= 0).all()
    assert at[0] >= 0
    assert at[-1] <= 1
    assert 0 <= curve.average_precision <= 1
