"""A configuration that was parsed before is what Hydra would parse now."""

import os
from argparse import Namespace

import pytest
from hydra import version
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins import basic_launcher
from hydra._internal.utils import create_config_search_path
from hydra.errors import ConfigCompositionException
from hydra.types import RunMode
from omegaconf import OmegaConf
from yaml import YAMLError

from segpipe.config import compose as compose_module
from segpipe.config.compose import HYDRA, CheckedLoader, compose
from segpipe.config.folder import conf_folder, experiments
from segpipe.config.parent_options import offer_parent
from segpipe.config.plan import with_plans


@pytest.fixture
def loader(tmp_path):
    flags = Namespace(cfg=None, info=None, help=None, config_path=None, config_name=None, config_dir=None)
    return CheckedLoader(create_config_search_path(str(tmp_path)), registries=dict, flags=flags)


@pytest.mark.parametrize("experiment", experiments())
def test_every_composition_is_that_of_hydra(experiment):
    words = [f"+experiment={experiment}", "data=nifti", "data.root=x", "network=dynunet"]
    version.setbase(HYDRA)
    hydra = ConfigLoaderImpl(create_config_search_path(str(conf_folder())))
    expected = OmegaConf.to_yaml(hydra.load_configuration("config", words, RunMode.RUN))
    compose([*words, "++training.batch_size=3", "~network.strides"], dict)  # changes what it was given
    for _ in range(2):
        assert OmegaConf.to_yaml(compose(words, dict)) == expected


def test_a_file_is_parsed_again_only_after_a_change(loader, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("seed: 1")
    written = file.stat().st_mtime_ns
    read = loader.repository.load_config
    assert read("mine").config == {"seed": 1}
    file.write_text("seed: 2")
    os.utime(file, ns=(written, written))
    assert read("mine").config == {"seed": 1}, "it was parsed again"
    os.utime(file, ns=(written, written + 1))
    assert read("mine").config == {"seed": 2}
    file.write_text("seed: 30")
    os.utime(file, ns=(written, written + 1))
    assert read("mine").config == {"seed": 30}


def test_a_file_that_cannot_be_read_can_be_once_it_is_mended(loader, tmp_path):
    (tmp_path / "mine.yaml").write_text("seed: [")
    with pytest.raises(YAMLError):
        loader.repository.load_config("mine")
    (tmp_path / "mine.yaml").write_text("seed: []")
    assert loader.repository.load_config("mine").config == {"seed": []}


def composed(loader, *words):
    return OmegaConf.to_container(OmegaConf.masked_copy(loader._load("mine", list(words), RunMode.RUN), ["a", "b"]))


def test_files_are_merged_again_after_a_change_of_one_of_them(loader, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "mine.yaml").write_text("defaults: [a: one, _self_]\nb: 1\n")
    (tmp_path / "a" / "one.yaml").write_text("x: 1\n")
    assert composed(loader) == {"a": {"x": 1}, "b": 1}
    assert composed(loader, "a.x=2", "+a.y=3", "b=4") == {"a": {"x": 2, "y": 3}, "b": 4}
    assert composed(loader) == {"a": {"x": 1}, "b": 1}, "one composition has changed another"
    (tmp_path / "a" / "one.yaml").write_text("x: 10\n")
    assert composed(loader) == {"a": {"x": 10}, "b": 1}
    with pytest.raises(ConfigCompositionException, match=r"Could not override 'a\.z'"):
        composed(loader, "a.z=1")


def test_a_plan_that_was_changed_is_merged_again(loader, tmp_path):
    (tmp_path / "mine.yaml").write_text("a: 1\nb: 2\n")
    plan = tmp_path / "plan.yaml"
    for value in (3, 4):
        plan.write_text(f"b: {value}\n")
        assert composed(loader, *with_plans([f"+plan={plan}"])) == {"a": 1, "b": value}


def test_what_another_model_says_of_itself_is_merged_again(loader, tmp_path):
    (tmp_path / "mine.yaml").write_text("defaults: [a: parent, _self_]\nb: 1\n")
    for value in (3, 4):
        offer_parent({"a": {"x": value}}, {})
        assert composed(loader) == {"a": {"x": value}, "b": 1}


def test_a_list_of_defaults_may_refer_to_a_choice(loader, tmp_path):
    (tmp_path / "mine.yaml").write_text("defaults: [a: one, b: '${a}', _self_]\n")
    for group, option in (("a", "one"), ("a", "two"), ("b", "one"), ("b", "two")):
        (tmp_path / group).mkdir(exist_ok=True)
        (tmp_path / group / f"{option}.yaml").write_text(f"is: {group} {option}\n")
    assert composed(loader) == {"a": {"is": "a one"}, "b": {"is": "b one"}}
    assert composed(loader, "a=two") == {"a": {"is": "a two"}, "b": {"is": "b two"}}


def test_plug_ins_that_hydra_has_imported_twice_are_merged_all_the_same(monkeypatch):
    """As in a job that a launcher has sent to another machine: the class that Hydra stored is not the module's own."""
    monkeypatch.setattr(compose_module, "_merged", {})
    monkeypatch.setattr(basic_launcher, "BasicLauncherConf", type("BasicLauncherConf", (), {}))
    for _ in range(2):
        assert compose(["+experiment=lung_nodule", "seed=5"], dict).seed == 5
    assert compose_module._merged == {}
