"""The words of a trial and the experiment that is written of them compose to the same configuration."""

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path

from segpipe.cli.train import registries
from segpipe.config.check import plain
from segpipe.config.compose import compose
from segpipe.config.folder import conf_folder
from segpipe.config.launch import JobResult, launch
from segpipe.config.sweeps.best_experiment import experiment_of

WORDS = [
    "+experiment=lung_nodule_voi", "+sweep=lung_nodule_voi", "data.root='my scans, all'", "augmentation=strong",
    "optimizer.lr=0.0012", "network.channels=[8,16,32,64]", "training.ema=null", "loss=dice_focal",
]  # fmt: skip


def test_an_experiment_of_words_is_what_the_words_are(tmp_path):
    loader = ConfigLoaderImpl(create_config_search_path(str(conf_folder())))
    (tmp_path / "experiment").mkdir()
    text = experiment_of([*WORDS, "resume=true", "tracking=none", "tracking.uri=x"], loader)
    (tmp_path / "experiment" / "best.yaml").write_text(text)
    found = []

    def job(config, folder, sweep):
        found.append((plain(config), sweep))
        return JobResult(0)

    words = ["--config-dir", str(tmp_path), "+experiment=best", f"hydra.run.dir={tmp_path / 'run'}"]
    assert launch(words, job, registries) == 0
    wanted = plain(compose(WORDS, registries))
    assert found == [(wanted, None)]
    found.clear()
    seeds = [f"hydra.sweep.dir={tmp_path / 'sweep'}", "seed=1,2", "--multirun"]  # a sweep of it is no search
    assert launch([*words[:3], *seeds], job, registries) == 0
    assert [content for content, _ in found] == [{**wanted, "seed": 1}, {**wanted, "seed": 2}]
