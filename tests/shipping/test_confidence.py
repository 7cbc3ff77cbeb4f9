"""What is fitted on all folds but one and checked on that one."""

import numpy as np

from segpipe.evaluation.calibration.voxels import EDGES
from segpipe.evaluation.results import CaseResult, PredictedLesion, ReferenceLesion, VoxelCounts

ZEROS = (0,) * len(EDGES)


def nodule(number, patient, rng):
    """One with a known error of volume, whose outline is right as often as its probability says."""
    probability, found = rng.uniform(0.6, 0.95), rng.uniform(120.0, 1000.0)
    overlap = 0.8 if rng.random() < probability else 0.4
    centre = (0.0, 0.0, 0.0)
    reference = ReferenceLesion(1, found * np.exp(rng.normal(0, 0.2)), 8.0, centre, 1, overlap, probability)
    prediction = PredictedLesion(1, found, 8.0, centre, 1, overlap, probability)
    counts = [list(ZEROS) for _ in range(3)]
    for row, value in zip(counts, (100, 80, 80.5), strict=True):
        row[82] = value
    voxels = VoxelCounts(*(tuple(row) for row in counts))
    return CaseResult(f"n{number}", patient, "no", {}, 0.0, 0.0, (reference,), (prediction,), voxels=voxels)


def test_tables_are_out_of_fold():
    import confidence

    rng = np.random.default_rng(0)
    folds = [[nodule(100 * fold + n, f"p{fold}_{n // 2}", rng) for n in range(100)] for fold in range(5)]
    known = confidence.fit(folds)
    assert "500 nodules of 250 patients" in known["origin"]
    assert [own["from_mm3"] for own in known["volume"]["classes"]] == [0.0, 268.0]
    rows = [line.split(" | ") for line in confidence.tables(folds) if line.startswith("|")]
    cells = {row[0].strip("| "): row for row in rows}
    assert float(cells["500 findings"][3]) < 0.05  # calibrated on the other folds
    covered = float(cells["any"][4].rstrip("%"))
    assert 85 < covered < 95
    one, mean = (list(line.split(" | ")) for line in list(confidence.of_the_mean(folds, folds[0]))[2:])
    assert one[1:] == mean[1:]
    assert 80 < float(one[3].rstrip("%")) <= 100
    kept, referred = (float(cells[name][2]) for name in ("kept", "referred"))
    assert kept > referred
