"""No password gets into Hydra's words or into a configuration, however `tracking.uri` is given."""

import sys

import pytest
from omegaconf import OmegaConf

from segpipe.cli.train import registries
from segpipe.config.compose import compose
from segpipe.config.credentials import words_without_credentials
from segpipe.config.launch import JobResult, launch
from segpipe.config.plan import with_plans
from segpipe.errors import ConfigError
from segpipe.system import credentials
from segpipe.system.credentials import HANDED_DOWN, whole_address

WHOLE = "postgresql://ann:p%40ss%2Fw-Hush@db/mlflow?sslkey=Hush"
SHOWN = "postgresql://db/mlflow"
WORD = "tracking.uri=postgresql://ann:p@ss/w-Hush@db/mlflow?sslkey=Hush"
TINY = ["+experiment=lung_nodule"]


@pytest.fixture(autouse=True)
def none_known(monkeypatch):
    monkeypatch.setattr(credentials, "_kept", {})
    monkeypatch.delenv(HANDED_DOWN, raising=False)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        (WORD, f"tracking.uri={SHOWN}"),
        (f"++{WORD}", f"++tracking.uri={SHOWN}"),
        ("tracking.uri='http://ann:a,b=c@h'", "tracking.uri='http://h'"),
        ('tracking.uri="http://ann:a(b@h"', 'tracking.uri="http://h"'),
        ("trackin.uri=http://ann:pw@h", "trackin.uri=http://h"),
        ("tracking.address=http://ann:pw@h", "tracking.address=http://h"),
        ("optimizer.lr=1e-3", "optimizer.lr=1e-3"),
        ("data.root=s3://me@bucket/a?b", "data.root=s3://me@bucket/a?b"),
        ("--multirun", "--multirun"),
    ],
)
def test_words_lose_what_signs_in(word, expected):
    assert words_without_credentials([word]) == [expected]


def test_a_composed_configuration_has_none_from_wherever_it_comes(tmp_path, monkeypatch):
    (tmp_path / "plan.yaml").write_text(f"tracking: {{uri: '{WHOLE}'}}")
    for words in ([WORD], with_plans([f"+plan={tmp_path / 'plan.yaml'}"])):
        config = compose([*TINY, *words], registries)
        assert config.tracking.uri == SHOWN
        assert "Hush" not in OmegaConf.to_yaml(config)
        assert whole_address(SHOWN).whole == WHOLE
    monkeypatch.setenv("MLFLOW_TRACKING_URI", WHOLE)
    assert compose(TINY, registries).tracking.uri == SHOWN


@pytest.mark.parametrize("sweep", [[], ["--multirun", "seed=0,1"]])
def test_neither_hydras_files_nor_the_words_that_start_other_processes_have_any(tmp_path, monkeypatch, sweep):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["segpipe", *TINY, WORD])
    seen = []

    def job(config, folder, sweep_folder):
        seen.append(OmegaConf.to_yaml(config, resolve=False))
        return JobResult(0)

    words = [*TINY, WORD, "hydra.output_subdir=.hydra", "hydra.run.dir=run", "hydra.sweep.dir=sweep", *sweep]
    assert launch(words, job, registries) == 0
    files = [file.read_text() for file in tmp_path.rglob("*.yaml")]
    assert len(seen) == (2 if sweep else 1)
    assert len(files) == (7 if sweep else 3)
    assert f"tracking.uri={SHOWN}" in sys.argv
    assert not [text for text in (*files, *seen, *sys.argv) if "Hush" in text]


def test_a_password_in_any_other_key_is_a_mistake_that_does_not_quote_it():
    callback = "callbacks=[{_target_: x.Y, place: 'redis://me:hush@h'}]"
    with pytest.raises(ConfigError) as caught:
        compose([*TINY, callback], registries)
    assert "callbacks.0.place: a password would be written into the run's folder" in str(caught.value)
    assert "hush" not in str(caught.value)
