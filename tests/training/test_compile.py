"""A network that is compiled learns the same weights under the same names, and is evaluated and exported as it is."""

import pytest
import torch

from segpipe.cli.train import registries
from segpipe.config.check import settings_of
from segpipe.config.compose import compose
from segpipe.training.checkpoints.files import read_checkpoint
from segpipe.training.data.run_data import prepare_data
from segpipe.training.fitting import fit, recipe_of


@pytest.fixture
def fitted(tiny_words, tmp_path):
    def run(*words):
        given = [*tiny_words, "tracking=none", "network.dropout=0.0", "training.ema=0.9", "trainer.precision=32-true"]
        settings = settings_of(compose([*given, "trainer.max_steps=4", *words], registries), registries())
        data, folder = prepare_data(settings, recipe_of(settings)), tmp_path / "_".join(["run", *words])
        provenance = {"digest": data.recipe.digest, "network": settings.network}
        fit(settings, data.patches(settings), folder, provenance=provenance, log_metrics=lambda values, step: None)
        return read_checkpoint(folder / "checkpoints" / "last.ckpt")["state_dict"]

    return run


@pytest.mark.filterwarnings("ignore")
def test_compiled_training_learns_the_same(fitted, monkeypatch):
    compiled = []

    def traced(network, **given):  # without the machine code, which takes a minute to make
        compiled.append(network)
        original(network, backend="eager", **given)

    original = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", traced)
    plain, found = fitted(), fitted("trainer.compile=true")
    assert len(compiled) == 1
    assert list(found) == list(plain)
    for name, weight in plain.items():
        torch.testing.assert_close(found[name], weight, rtol=1e-5, atol=1e-6)
    assert compiled[0]._compiled_call_impl is None
