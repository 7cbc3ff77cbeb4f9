"""Curves are kept in the run folder, and a repeated step counts once."""

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from segpipe.training.callbacks import HISTORY, RunLogger, TrainingProgress, read_history


def test_points_reach_the_file_and_the_tracker(tmp_path):
    reported = []
    logger = RunLogger(tmp_path, lambda values, step: reported.append((step, values)))
    logger.log_metrics({"train/loss": 0.5, "epoch": 0}, 1)
    logger.log_metrics({"epoch": 0}, 2)
    assert reported == [(1, {"train/loss": 0.5})]
    assert read_history(tmp_path) == [{"step": 1, "train/loss": 0.5}]
    assert (logger.name, logger.version) == ("segpipe", tmp_path.name)


def test_points_that_the_disk_does_not_take_wait_and_end_nothing(tmp_path, caplog):
    logger = RunLogger(tmp_path / "run", lambda values, step: None)
    for step in (1, 2):
        logger.log_metrics({"train/loss": 0.5}, step)
    (tmp_path / "run").mkdir()
    logger.log_metrics({"train/loss": 0.5}, 3)
    assert [row["step"] for row in read_history(tmp_path / "run")] == [1, 2, 3]
    assert caplog.messages == ["metrics.jsonl cannot be written, its lines wait: No such file or directory"]


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


class Line(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def training_step(self, batch, index):
        self.log("train/loss", torch.tensor(0.25), prog_bar=True)
        return self.layer(batch).sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters())


@pytest.mark.filterwarnings("ignore")
def test_a_training_that_writes_into_a_log_has_a_line_and_not_one_for_each_step(tmp_path, capsys):
    trainer = pl.Trainer(
        accelerator="cpu", max_steps=4, accumulate_grad_batches=2, callbacks=[TrainingProgress()], logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(Line(), DataLoader(torch.ones(8, 1)))
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("training")]
    assert line.startswith("training: 4 of 4 steps in 0:0")
    assert line.endswith(", loss 0.250")
