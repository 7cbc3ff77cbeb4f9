import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segpipe.evaluation.detection.froc import FP_RATES, froc_curve, froc_figures
from segpipe.evaluation.marks.mark_table import Points
from segpipe.evaluation.marks.matching import MOST_MARKS, match_marks
from segpipe.evaluation.marks.reference import MarkReference, Spheres

SCANS = ("a", "b")


def marks(*rows):
    """Marks of scan, place along x and probability."""
    scan, x, probability = zip(*rows, strict=True) if rows else ((), (), ())
    centres = np.array([(place, 0.0, 0.0) for place in x]).reshape(-1, 3)
    return Points(np.array(scan, dtype=np.int64), centres, np.array(probability, dtype=np.float64))


def spheres(*rows):
    """Findings of scan, place along x and diameter."""
    return Spheres.of([(scan, (x, 0.0, 0.0), diameter) for scan, x, diameter in rows])


def reference(nodules, ignored=(), scans=SCANS):
    return MarkReference("test", scans, scans, spheres(*nodules), spheres(*ignored))


def counts(matched):
    false, double = int(matched.false.sum()), int(np.maximum(matched.hits - 1, 0).sum())
    return int(matched.found.sum()), false, int(matched.on_ignored.sum()), double


def test_found_missed_false_ignored_and_double_by_pencil():
    nodules = [(0, 0.0, 10.0), (0, 50.0, 6.0), (1, 0.0, 6.0)]
    given = marks((0, 1.0, 0.5), (0, -4.9, 0.7), (0, 20.0, 0.9), (0, 30.0, 0.8), (1, 50.0, 0.6))
    matched = match_marks(given, reference(nodules, [(0, 31.0, 10.0)]))
    assert counts(matched) == (1, 2, 1, 1)
    assert matched.probability.tolist() == [0.7, -np.inf, -np.inf]
    candidates = matched.candidates()
    assert candidates.confidence.tolist() == [0.9, 0.7, 0.6]
    assert candidates.true.tolist() == [False, True, False]
    assert candidates.case.tolist() == [0, 0, 1]
    assert candidates.lesions.tolist() == [2, 1]


def test_a_mark_at_exactly_the_radius_is_outside():
    assert counts(match_marks(marks((0, 5.0, 0.5)), reference([(0, 0.0, 10.0)]))) == (0, 1, 0, 0)


def test_a_mark_on_a_nodule_and_on_an_excluded_finding_finds_the_nodule():
    assert counts(match_marks(marks((0, 0.0, 0.5)), reference([(0, 1.0, 10.0)], [(0, 0.0, 10.0)]))) == (1, 0, 0, 0)


def test_a_mark_between_two_nodules_finds_both():
    matched = match_marks(marks((0, 0.0, 0.5)), reference([(0, 2.0, 10.0), (0, -2.0, 10.0)]))
    assert counts(matched) == (2, 0, 0, 0)
    assert froc_curve(matched.candidates()).sensitivity.tolist() == [1.0]


def test_of_a_scan_the_hundred_most_probable_marks_count_and_ties_with_the_next_do_not():
    many = [(0, 100.0 + 20 * number, 0.9 - number / 1000) for number in range(MOST_MARKS - 1)]
    tied = [(0, 0.0, 0.1), (0, 50.0, 0.1)]
    matched = match_marks(marks(*many, *tied), reference([(0, 0.0, 10.0)]))
    assert len(matched.points.scan) == MOST_MARKS - 1
    assert not matched.found.any()
    assert match_marks(marks(*many, tied[0]), reference([(0, 0.0, 10.0)])).found.all()


def test_without_any_mark_every_nodule_is_missed():
    matched = match_marks(marks(), reference([(1, 0.0, 10.0)]))
    assert froc_figures(matched.candidates(), np.ones((1, 2))).tolist() == [[0.0] * 9]


places = st.integers(min_value=0, max_value=30).map(float)
scan = st.integers(min_value=0, max_value=1)
mark_rows = st.lists(st.tuples(scan, places, st.sampled_from([-1.0, 0.1, 0.2, 0.5, 2.0])), max_size=12)
finding_rows = st.lists(st.tuples(scan, places, st.sampled_from([2.0, 6.0, 12.0])), max_size=4)


def naive(mark_rows, nodules, ignored):
    """The rules once more, nodule by nodule, as a table of (probability, true), and the counts."""
    remaining = set(range(len(mark_rows)))
    rows, on_ignored, double = [], 0, 0
    for scan, x, diameter in nodules:
        on = [i for i, (other, place, _) in enumerate(mark_rows) if other == scan and abs(place - x) < diameter / 2]
        remaining -= set(on)
        double += max(len(on) - 1, 0)
        rows += [(max(mark_rows[i][2] for i in on), True)] if on else []
    for scan, x, diameter in ignored:
        on = {i for i in remaining if mark_rows[i][0] == scan and abs(mark_rows[i][1] - x) < diameter / 2}
        on_ignored += len(on)
        remaining -= on
    rows += [(mark_rows[i][2], False) for i in remaining]
    return sorted(rows), (sum(true for _, true in rows), len(remaining), on_ignored, double)


@given(mark_rows, finding_rows, finding_rows)
def test_the_rules_agree_with_a_plain_loop(mark_rows, nodules, ignored):
    matched = match_marks(marks(*mark_rows), reference(nodules, ignored))
    rows, expected = naive(mark_rows, nodules, ignored)
    candidates = matched.candidates()
    assert counts(matched) == expected
    assert sorted(zip(candidates.confidence.tolist(), candidates.true.tolist(), strict=True)) == rows


@given(mark_rows, finding_rows.filter(bool), finding_rows, st.randoms())
def test_the_order_of_rows_does_not_matter(mark_rows, nodules, ignored, random):
    figures = []
    for _ in range(2):
        matched = match_marks(marks(*mark_rows), reference(nodules, ignored))
        figures.append((counts(matched), froc_figures(matched.candidates(), np.ones((1, 2))).tolist()))
        for rows in (mark_rows, nodules, ignored):
            random.shuffle(rows)
    assert figures[0] == figures[1]


@given(mark_rows, finding_rows.filter(bool), scan)
def test_an_improbable_mark_far_away_never_raises_sensitivity(mark_rows, nodules, where):
    before, after = (
        froc_curve(match_marks(marks(*rows), reference(nodules)).candidates()).sensitivity_at()
        for rows in (mark_rows, [*mark_rows, (where, 1000.0, -2.0)])
    )
    assert (after <= before).all()


@given(mark_rows, finding_rows.filter(bool), finding_rows)
def test_excluding_findings_never_lowers_sensitivity(mark_rows, nodules, ignored):
    without, excluded = (
        froc_curve(match_marks(marks(*mark_rows), reference(nodules, others)).candidates()).sensitivity_at()
        for others in ((), ignored)
    )
    assert len(without) == len(FP_RATES)
    assert (excluded >= without - 1e-12).all()


def test_centres_in_space_are_compared_along_all_axes():
    nodule = Spheres.of([(0, (1.0, 2.0, 3.0), 4.0)])
    given = Points(np.array([0, 0]), np.array([[2.1, 3.1, 4.1], [2.2, 3.2, 4.2]]), np.array([0.5, 0.6]))
    matched = match_marks(given, MarkReference("test", SCANS, SCANS, nodule, Spheres.of([])))
    assert matched.on_nodule.tolist() == [True, False]  # √3.63 = 1.905 and √4.32 = 2.078 from a radius of 2
    assert matched.probability == pytest.approx([0.5])
