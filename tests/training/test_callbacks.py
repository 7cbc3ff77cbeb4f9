"""Curves are kept in the run folder, and a repeated step counts once."""

from segpipe.training.callbacks import HISTORY, RunLogger, read_history


def test_points_reach_the_file_and_the_tracker(tmp_path):
    reported = []
    logger = RunLogger(tmp_path, lambda values, step: reported.append((step, values)))
    logger.log_metrics({"train/loss": 0.5, "epoch": 0}, 1)
    logger.log_metrics({"epoch": 0}, 2)
    assert reported == [(1, {"train/loss": 0.5})]
    assert read_history(tmp_path) == [{"step": 1, "train/loss": 0.5}]
    assert (logger.name, logger.version) == ("segpipe", tmp_path.name)


def test_of_a_repeated_step_the_last_point_counts(tmp_path):
    (tmp_path / HISTORY).write_text(
        '{"step": 2, "train/loss": 9.0}\n{"step": 1, "train/loss": 3.0}\n'
        '{"step": 2, "val/loss": 4.0}\n{"step": 2, "train/loss": 2.0}\n{"step": 3, "tra'
    )
    assert read_history(tmp_path) == [
        {"step": 1, "train/loss": 3.0},
        {"step": 2, "train/loss": 2.0},
        {"step": 2, "val/loss": 4.0},
    ]


def test_no_history_is_no_error(tmp_path):
    assert read_history(tmp_path) == []
