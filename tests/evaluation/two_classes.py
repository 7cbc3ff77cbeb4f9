"""Six pairs of label maps with two classes, and the folders in which nnU-Net evaluates them."""

import hashlib
import json

import numpy as np

from segpipe.geometry import Grid
from segpipe.io.images.volumes import write_volume

GRID = Grid((36, 30, 14), np.diag([0.8, 0.8, 2.0, 1.0]))
IGNORE = 3
TASKS = {  # labels as nnU-Net's dataset.json has them
    "exclusive": {"background": 0, "solid": 1, "ground_glass": 2, "ignore": IGNORE},
    "regions": {"background": 0, "nodule": [1, 2], "solid_core": [2], "ignore": IGNORE},
}


def two_class_cases():
    """(name, prediction, reference): balls of both classes, moved, swapped and missed, and a corner left unoutlined."""
    rng = np.random.default_rng(11)
    for number in range(6):
        reference, prediction = (np.zeros(GRID.shape, dtype=np.uint8) for _ in range(2))
        for value in (1, 2, 1, 2):
            centre, radius = rng.uniform([6, 6, 3], [30, 24, 11]), rng.uniform(2.5, 5)
            reference[_ball(centre, radius)] = value
            if rng.random() < 0.85:
                given = value if rng.random() < 0.8 else 3 - value
                prediction[_ball(centre + rng.normal(0, 0.8, 3), radius * rng.uniform(0.8, 1.2))] = given
        reference[:12, :12] = IGNORE
        yield f"case{number}", prediction, reference


def digest_of_cases():
    """SHA-256 of all label maps: shows whether a recorded summary is of these."""
    return hashlib.sha256(b"".join(mask.tobytes() for _, *pair in two_class_cases() for mask in pair)).hexdigest()


def write_two_class_folders(folder, task):
    """The pairs as files, and what `nnUNetv2_evaluate_folder` wants to know of a task."""
    for name, prediction, reference in two_class_cases():
        write_volume(folder / "predictions" / f"{name}.nii.gz", prediction, GRID)
        write_volume(folder / "references" / f"{name}.nii.gz", reference, GRID)
    order = {"regions_class_order": [1, 2]} if task == "regions" else {}
    content = {"labels": TASKS[task], "file_ending": ".nii.gz", **order}
    (folder / "dataset.json").write_text(json.dumps(content))
    (folder / "plans.json").write_text('{"label_manager": "LabelManager"}')


def _ball(centre, radius):
    distance = [(axis - place) ** 2 for axis, place in zip(np.indices(GRID.shape), centre, strict=True)]
    return sum(distance) < radius**2
