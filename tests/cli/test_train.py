"""What the verb `train` adds to Hydra: the figure that sweepers compare."""

import json

import pytest

from segpipe.cli.train import last_pseudo_dice


@pytest.mark.parametrize(("points", "expected"), [([], None), ([0.5, 0.75], 0.75)])
def test_a_sweeper_compares_the_last_validation(tmp_path, points, expected):
    rows = [{"step": step, "val/pseudo_dice": point} for step, point in enumerate(points)]
    lines = [json.dumps(row) for row in [*rows, {"step": 9, "train/loss": 0.1}]]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    assert last_pseudo_dice(tmp_path) == expected
