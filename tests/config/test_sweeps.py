"""Each shipped space fits its experiment: every value of every key composes, is valid and builds its parts."""

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path

from segpipe.cli.train import registries
from segpipe.config.check import settings_of
from segpipe.config.compose import compose
from segpipe.config.folder import conf_folder
from segpipe.config.overrides import each_value
from segpipe.system.files.plain_files import read_yaml
from segpipe.training.fitting import build_module

SWEEPS = sorted(file.stem for file in (conf_folder() / "sweep").glob("*.yaml"))


@pytest.mark.parametrize("name", SWEEPS)
def test_every_value_of_a_space_builds_what_is_trained(name):
    content = read_yaml(conf_folder() / "sweep" / f"{name}.yaml")
    space = [f"{key}={among}" for key, among in content["hydra"]["sweeper"]["params"].items()]
    loader = ConfigLoaderImpl(create_config_search_path(str(conf_folder())))
    fixed = [f"+experiment={name}", f"+sweep={name}", "data.root=scans", "trainer=cpu"]
    jobs = list(each_value([*fixed, *space], loader))
    assert len(jobs) > len(space)
    for words in jobs:
        settings = settings_of(compose(words, registries), registries())
        assert settings.data.fold is None
        assert settings.data.fractions[1] > 0
        assert settings.trainer.max_steps % settings.training.validate_every == 0
        module = build_module(settings, {})
        assert module.make_optimizer(module.network).param_groups[0]["lr"] == settings.optimizer["lr"]
