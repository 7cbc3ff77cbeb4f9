import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import gaussian_filter, label

from segpipe.evaluation.detection import candidates
from segpipe.evaluation.detection.candidates import LEAST_CONFIDENCE, PART_OF_PEAK, SAME_CANDIDATE, find_candidates

CORNERS = np.ones((3, 3, 3))


def volume(*blocks, shape=(24, 12, 12)):
    """Blocks of start and end along x and a probability, 4 voxels thick, or 1 where they are a bridge."""
    probability = np.zeros(shape, dtype=np.float32)
    for start, end, value, thick in blocks:
        probability[start:end, 4 : 4 + thick, 4 : 4 + thick] = value
    return probability


def line(*values):
    return np.array(values, dtype=np.float64).reshape(-1, 1, 1)


@pytest.mark.parametrize("peaks", [(0.9, 0.9), (0.9, 0.6), (0.8, 0.5)])
@pytest.mark.parametrize("mirrored", [False, True])
def test_two_nodules_three_voxels_apart_are_two_candidates_though_a_bridge_joins_them(peaks, mirrored):
    probability = volume((3, 8, peaks[0], 4), (8, 11, 0.3, 1), (11, 16, peaks[1], 4))
    found = find_candidates(probability[::-1] if mirrored else probability)
    assert found.confidence == pytest.approx(sorted(peaks, reverse=True))
    assert (found.voxel_counts >= 5 * 4 * 4).all()
    assert (found.voxel_counts <= 5 * 4 * 4 + 3).all()
    ends = sorted(found.centres[:, 0] if not mirrored else 23 - found.centres[:, 0])
    assert ends == pytest.approx([5, 13], abs=0.2)


def test_two_peaks_between_which_the_way_stays_above_two_thirds_are_one_candidate():
    assert find_candidates(line(0.9, 0.41, 0.6)).confidence.tolist() == [0.9]
    assert find_candidates(line(0.9, 0.39, 0.6)).confidence.tolist() == [0.9, 0.6]


def test_a_candidate_reaches_as_far_as_forty_per_cent_of_its_peak_and_its_fringe_is_none_of_its_own():
    found = find_candidates(line(0.02, 0.3, 0.41, 1.0, 0.7, 0.4, 0.39, 0.1))
    assert found.confidence.tolist() == [1.0]
    assert sorted(found.voxels[:, 0]) == [2, 3, 4, 5]
    assert found.centres.tolist() == [[3.5, 0, 0]]


def test_what_lies_behind_a_dip_below_forty_per_cent_of_the_peak_does_not_belong_to_it():
    # the way to the lower peak stays above two thirds of it, so it is no candidate, and falls below 0.4, so it is cut
    assert sorted(find_candidates(line(1.0, 0.5, 0.35, 0.45)).voxels[:, 0]) == [0, 1]


def test_faint_places_are_candidates_down_to_the_least_confidence():
    found = find_candidates(line(0.5, 0, LEAST_CONFIDENCE, 0, LEAST_CONFIDENCE * 0.99, 0))
    assert found.confidence.tolist() == [0.5, LEAST_CONFIDENCE]


@pytest.mark.parametrize("value", [0.0, LEAST_CONFIDENCE / 2])
def test_where_nothing_stands_out_there_is_no_candidate(value):
    found = find_candidates(np.full((4, 5, 6), value, dtype=np.float32))
    assert (len(found.confidence), len(found.voxels), found.centres.shape) == (0, 0, (0, 3))


def test_a_volume_of_one_value_is_one_candidate():
    found = find_candidates(np.full((4, 5, 6), 1.0, dtype=np.float32))
    assert (found.confidence.tolist(), found.voxel_counts.tolist()) == ([1.0], [120])


def noise(seed, shape=(30, 28, 26), sigma=1.5):
    field = gaussian_filter(np.random.default_rng(seed).normal(size=shape), sigma)
    return (1 / (1 + np.exp(4 - 3 * field / field.std()))).astype(np.float32)


def test_of_too_many_candidates_the_most_confident_count_and_are_what_they_were(monkeypatch):
    probability = noise(0)
    every = find_candidates(probability)
    assert len(every.confidence) > 20
    monkeypatch.setattr(candidates, "MOST_CANDIDATES", 7)
    few = find_candidates(probability)
    assert few.confidence.tolist() == every.confidence[:7].tolist()
    assert few.voxel_counts.tolist() == every.voxel_counts[:7].tolist()


def test_of_too_many_voxels_the_most_probable_count_and_confident_candidates_stay(monkeypatch):
    probability = noise(1)
    every = find_candidates(probability)
    budget = int((probability >= PART_OF_PEAK * every.confidence[9]).sum())
    assert budget < (probability >= PART_OF_PEAK * LEAST_CONFIDENCE).sum()
    monkeypatch.setattr(candidates, "MOST_VOXELS", budget)
    few = find_candidates(probability)
    assert few.confidence[:10].tolist() == every.confidence[:10].tolist()
    assert few.voxel_counts[:10].tolist() == every.voxel_counts[:10].tolist()
    monkeypatch.setattr(candidates, "MOST_VOXELS", 50)
    assert len(find_candidates(np.ones((8, 8, 8))).voxels) <= 50


def test_the_layout_in_memory_changes_nothing():
    probability = noise(2)
    found, turned = (find_candidates(array) for array in (probability, np.asfortranarray(probability)))
    assert found.confidence.tolist() == turned.confidence.tolist()
    assert np.array_equal(found.voxels, turned.voxels)
    assert np.array_equal(found.owner, turned.owner)


def highest_way(probability, first, second):
    """The largest level at which two voxels are connected, by trying them all."""
    for level in np.unique(probability)[::-1]:
        numbers, _ = label(probability >= level, structure=CORNERS)
        if numbers[first] == numbers[second] != 0:
            return level
    raise AssertionError("the lowest level connects everything")


few_levels = arrays(np.float64, (4, 4, 3), elements=st.sampled_from([0.0, 0.05, 0.1, 0.2, 0.35, 0.45, 0.6, 0.8, 1.0]))


@given(few_levels)
def test_candidates_are_connected_apart_and_complete(probability):
    found = find_candidates(probability)
    assert (np.diff(found.confidence) <= 0).all()
    assert (probability.max() < LEAST_CONFIDENCE) == (len(found.confidence) == 0)
    assert len(np.unique(found.voxels, axis=0)) == len(found.voxels)
    peaks = []
    for number, peak in enumerate(found.confidence):
        own = tuple(found.voxels[found.owner == number].T)
        values = probability[own]
        assert values.max() == peak
        assert values.min() >= PART_OF_PEAK * peak
        inside = np.zeros(probability.shape, dtype=bool)
        inside[own] = True
        assert label(inside, structure=CORNERS)[1] == 1
        peaks.append(tuple(axis[values.argmax()] for axis in own))
    for number, peak in enumerate(peaks):
        ways = [highest_way(probability, peak, other) for other in peaks[:number]]
        assert all(way <= SAME_CANDIDATE * found.confidence[number] for way in ways)


def blobs(seed, shape=(26, 26, 26)):
    """Smooth blobs that are apart at any level; picai_eval takes their fringe below 16 % for further candidates."""
    rng = np.random.default_rng(seed)
    places = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    probability = np.zeros(shape)
    for corner in np.argwhere(np.ones((2, 2, 2))) * 13 + 6:
        if rng.random() < 0.8:
            distance = np.linalg.norm((places - corner - rng.uniform(-1, 1, 3)) / rng.uniform(1.2, 2.5), axis=-1)
            probability += rng.uniform(0.05, 1) * np.exp(-(distance**2) / 2) * (distance < 1.85)
    return probability


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("seed", range(3))
def test_separate_blobs_are_the_candidates_that_picai_eval_extracts(seed):
    package = pytest.importorskip("report_guided_annotation", reason="picai_eval is not installed")
    probability = blobs(seed)
    _, confidences, numbers = package.extract_lesion_candidates(
        probability, threshold="dynamic", min_voxels_detection=0, num_lesions_to_extract=20
    )
    theirs = {round(confidence, 9): int((numbers == number).sum()) for number, confidence in confidences}
    found = find_candidates(probability)
    ours = dict(zip(found.confidence.round(9).tolist(), found.voxel_counts.tolist(), strict=True))
    assert len(ours) > 3
    assert ours == theirs
