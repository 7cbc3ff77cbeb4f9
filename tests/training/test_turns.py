"""Batches in turns: one turn for each batch, given back whatever happens."""

from contextlib import contextmanager

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from segpipe.training import turns as module
from segpipe.training.turns import BatchesInTurns


class Line(pl.LightningModule):
    def __init__(self, log, fails_at=None):
        super().__init__()
        self.layer, self.seen, self.fails_at = torch.nn.Linear(1, 1), log, fails_at

    def training_step(self, batch, index):
        self.seen.append("train")
        if index == self.fails_at:
            raise ArithmeticError
        return self.layer(batch).sum()

    def validation_step(self, batch, index):
        self.seen.append("validate")

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters())


def fit(log, folder, **given):
    trainer = pl.Trainer(
        accelerator="cpu", max_steps=2, val_check_interval=2, num_sanity_val_steps=0, callbacks=[BatchesInTurns()],
        logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        default_root_dir=folder,
    )  # fmt: skip
    loader = DataLoader(torch.ones(2, 1))
    trainer.fit(Line(log, **given), loader, loader)


@pytest.fixture
def log(monkeypatch):
    seen = []

    @contextmanager
    def take_turn(threads):
        seen.append("(")
        try:
            yield
        finally:
            seen.append(")")

    monkeypatch.setattr(module, "take_turn", take_turn)
    return seen


@pytest.mark.filterwarnings("ignore")
def test_each_batch_has_a_turn(log, tmp_path):
    fit(log, tmp_path)
    assert " ".join(log) == "( train ) ( train ) ( validate ) ( validate )"


@pytest.mark.filterwarnings("ignore")
def test_a_turn_that_was_broken_off_is_given_back(log, tmp_path):
    with pytest.raises(ArithmeticError):
        fit(log, tmp_path, fails_at=1)
    assert " ".join(log) == "( train ) ( train )"
