"""The command line with parts from elsewhere, as Hydra composes it."""

import pytest
from hydra.core.config_store import ConfigStore

from segpipe.cli.train import registries
from segpipe.config.check import plain
from segpipe.config.compose import compose
from segpipe.config.foreign_parts import with_targets
from segpipe.errors import ConfigError
from tests.parts.plug_ins import install
from tests.samples.foreign_networks import NETS

POINTS = "[segpipe.networks]\ntiny = PKG.nets:TinyNet\nsized = PKG.nets:OneSize\ngone = PKG.nets:Gone\n"


@pytest.fixture
def package(tmp_path, monkeypatch):
    yield install(tmp_path / "site", monkeypatch, {"nets": NETS}, POINTS)
    for name in ("tiny", "sized", "gone"):  # nobody offers them any longer
        ConfigStore.instance().repo.get("network", {}).pop(f"{name}.yaml", None)


def composed(*words: str):
    return plain(compose(words, registries))


def refused(*words: str) -> str:
    with pytest.raises(ConfigError) as caught:
        composed(*words)
    return str(caught.value)


def test_a_target_takes_the_place_of_a_whole_section():
    assert with_targets(["seed=1", "network.width=8", "--cfg", "network._target_=a.B"], ["network", "loss"]) == [
        "seed=1", "~network", "+network.width=8", "--cfg", "+network._target_=a.B"
    ]  # fmt: skip
    unchanged = ["network=own", "network._target_=a.B", "loss.width=3"]
    assert with_targets(unchanged, ["network", "loss"]) == unchanged


@pytest.mark.parametrize("experiment", ["lung_nodule", "lung_tumour"])
def test_keys_of_the_default_option_go(package, experiment):
    target = f"network._target_={package}.nets.TinyNet"
    config = composed(f"+experiment={experiment}", "data=phantom", target, "network.width=8")
    assert config["network"] == {"_target_": f"{package}.nets.TinyNet", "width": 8}


def test_mistakes_are_explained_with_all_others(package):
    text = refused(f"network._target_={package}.nets.TinyNet", "network.widht=8", "seed=-1", "loss._target_=no.Loss")
    assert "3 mistakes" in text
    assert "network.widht: no such key; allowed: width; did you mean width?" in text
    assert "loss._target_=no.Loss: no.Loss cannot be imported" in text


def test_a_plug_in_is_an_option_with_its_own_defaults(package):
    assert composed("network=tiny")["network"] == {"name": "tiny", "width": 4}
    assert composed("network=tiny", "network.width=8")["network"]["width"] == 8
    assert "network.size: must be given" in refused("network=sized")
    assert "network=tini: must be one of" in refused("network=tini")
    assert "did you mean tiny?" in refused("network=tini")


def test_a_broken_plug_in_is_explained_where_it_is_chosen_and_harms_nobody_else(package):
    assert composed("network=unet")["network"]["name"] == "unet"
    assert "the network of a plug-in cannot be imported (package: " in refused("network=gone")


def test_callbacks_are_a_list(package):
    spec = "{_target_: pytorch_lightning.callbacks.DeviceStatsMonitor, cpu_stats: false}"
    assert composed(f"callbacks=[{spec}]")["callbacks"][0]["cpu_stats"] is False
    assert "callbacks.0.cpu: no such key" in refused(f"callbacks=[{spec.replace('cpu_stats', 'cpu')}]")
