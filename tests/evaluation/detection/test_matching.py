import tracemalloc

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from segpipe.evaluation.detection.matching import Lesions, assign, find_lesions, match_lesions, overlaps
from segpipe.evaluation.measures.foreground_crops import find_foreground_crops
from segpipe.geometry import Grid
from segpipe.lesions import Lesion

GRID = Grid((20, 20, 20), np.diag([1.0, 1.0, 2.0, 1.0]))


def blocks(*boxes):
    mask = np.zeros(GRID.shape, dtype=bool)
    for x, y, z, size in boxes:
        mask[x : x + size, y : y + size, z : z + size] = True
    return mask


def found(prediction, reference):
    crops = find_foreground_crops(prediction, reference, GRID)
    predicted = find_lesions([crop.prediction for crop in crops], crops)
    return predicted, find_lesions([crop.reference for crop in crops], crops), crops


def match(prediction, reference, probability=None):
    predicted, wanted, crops = found(prediction, reference)
    parts = None if probability is None else [probability[crop.box] for crop in crops]
    return match_lesions(predicted, wanted, probability=parts)


def test_an_overlap_of_exactly_the_least_is_enough():
    one, least = np.array([0]), np.array([0.25])
    assert assign(one, one, least, minimum=0.25) == [(0, 0, 0.25)]
    assert assign(one, one, least, minimum=0.26) == []


def test_iou_of_shifted_blocks_by_pencil():
    # Two 4×4×4 blocks, one shifted by one voxel: 48 voxels in both, 80 in the union.
    predicted, reference, _ = found(blocks((3, 2, 2, 4)), blocks((2, 2, 2, 4)))
    rows, columns, iou = overlaps(predicted, reference)
    assert (rows.tolist(), columns.tolist(), iou.tolist()) == ([0], [0], [pytest.approx(48 / 80)])


def test_a_hit_a_miss_and_a_false_positive():
    lesions, candidates = match(blocks((3, 2, 2, 4), (14, 14, 14, 2)), blocks((2, 2, 2, 4), (2, 12, 12, 3)))
    assert [lesion.matched for lesion in lesions] == [1, None]
    assert [lesion.overlap for lesion in lesions] == [pytest.approx(0.6), 0.0]
    assert [candidate.matched for candidate in candidates] == [1, None]
    assert lesions[0].volume_mm3 == pytest.approx(128.0)


def test_voxels_that_touch_at_a_corner_are_one_lesion():
    lesions, _ = match(blocks(), blocks((2, 2, 2, 2), (4, 4, 4, 2)))
    assert len(lesions) == 1


@pytest.mark.parametrize(("size", "matched"), [(13, None), (12, 1)])
def test_a_pair_below_an_iou_of_a_tenth_is_no_match(size, matched):
    # A 6×6×6 block inside a larger one: 216/2197 = 0.098, 216/1728 = 0.125.
    lesions, _ = match(blocks((2, 2, 2, size)), blocks((2, 2, 2, 6)))
    assert lesions[0].matched == matched


def test_pairs_are_one_to_one():
    reference = blocks((2, 2, 2, 10))
    prediction = reference.copy()
    prediction[6] = False  # splits the block in two, 4 and 5 layers thick
    lesions, candidates = match(prediction, reference)
    assert lesions[0].matched == 1
    assert lesions[0].overlap == pytest.approx(0.5)
    assert [candidate.matched for candidate in candidates] == [1, None]


def test_assignment_takes_most_pairs_before_the_best_pair():
    # 0.9 alone is more than 0.2 + 0.3, yet two pairs are more than one.
    pairs = assign(np.array([0, 0, 1]), np.array([0, 1, 0]), np.array([0.9, 0.2, 0.3]))
    assert pairs == [(0, 1, 0.2), (1, 0, 0.3)]


def test_assignment_takes_the_largest_total_and_not_the_first_best():
    # Greedy would take 0.6 and leave 0; the best total is 0.5 + 0.5.
    pairs = assign(np.array([3, 3, 8]), np.array([2, 5, 2]), np.array([0.6, 0.5, 0.5]))
    assert pairs == [(3, 5, 0.5), (8, 2, 0.5)]


def test_a_candidate_hits_by_its_centre_within_half_the_diameter():
    # Reference 4×4×4 voxels of 1×1×2 mm: longest distance √(9+9+36) = 7.35 plus 4/3 gives a radius of 4.34 mm.
    reference = blocks((4, 4, 4, 4))
    for shift, hits in ((4, (1,)), (5, ())):
        _, candidates = match(blocks((4 + shift, 4, 4, 4)), reference)
        assert candidates[0].matched is None
        assert candidates[0].hits == hits


def test_the_probability_of_a_candidate_is_the_mean_over_its_voxels():
    prediction = blocks((2, 2, 2, 2), (10, 10, 10, 1))
    probability = np.full(GRID.shape, 0.1, dtype=np.float32)
    probability[2, 2:4, 2:4] = 0.6
    probability[3, 2:4, 2:4] = 1.0
    probability[10, 10, 10] = 0.7
    lesions, candidates = match(prediction, blocks((2, 2, 2, 2)), probability=probability)
    assert [candidate.probability for candidate in candidates] == [pytest.approx(0.8), pytest.approx(0.7)]
    assert lesions[0].probability == pytest.approx(0.8)


def test_without_any_lesion_there_is_nothing_to_match():
    assert match(blocks(), blocks()) == ((), ())


def test_lesions_in_separate_groups_are_paired_as_in_one_table():
    """Random overlaps: the number of pairs and their total are those of one table for all."""
    rng = np.random.default_rng(4)
    for _ in range(20):
        codes = rng.choice(30 * 30, size=60, replace=False)
        rows, columns, iou = codes // 30, codes % 30, rng.uniform(0.1, 1, 60)
        table = np.zeros((30, 30))
        table[rows, columns] = iou
        best = table[linear_sum_assignment(table + (table > 0), maximize=True)]
        pairs = assign(rows, columns, iou)
        assert len(pairs) == np.count_nonzero(best)
        assert sum(value for _, _, value in pairs) == pytest.approx(best.sum())
        assert len({row for row, _, _ in pairs}) == len({column for _, column, _ in pairs}) == len(pairs)


def test_memory_grows_with_the_number_of_lesions_and_not_with_its_square():
    count = 4000  # a table of all distances would take 384 MB, one of all overlaps 128 MB
    lesions = [Lesion(number, 1.0, 2.0, (3.0 * number, 0.0, 0.0)) for number in range(1, count + 1)]
    numbers = np.arange(1, count + 1)[:, None, None]
    one = Lesions([numbers], lesions, np.ones(count, dtype=np.int64))
    tracemalloc.start()
    found, candidates = match_lesions(one, one)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [lesion.matched for lesion in found] == list(range(1, count + 1))
    assert [candidate.hits for candidate in candidates] == [(number,) for number in range(1, count + 1)]
    assert peak < 16e6
