"""A run of ratings, from the command line to figures, tracking and a model."""

import json
from pathlib import Path

import pytest
from mlflow import MlflowClient

from segpipe.cli.train import registries
from segpipe.config.check import settings_of
from segpipe.config.compose import compose
from segpipe.errors import ConfigError
from segpipe.export.rating_folder import read_rating_folder
from segpipe.pipelines.ratings import run_ratings
from segpipe.system.files.csv_table import read_csv
from tests.samples.small_rating_models import skip_onnx
from tests.samples.tiny_data import write_tiny_data
from tests.support.processes import segpipe

WORDS = ["+experiment=lung_nodule_ratings", "data.root=."]
TINY = [
    "data.folds=2", "ratings.names=[malignancy,calcification]", "ratings.steps=2", "ratings.batch_size=4",
    "ratings.crop.side=8", "ratings.layers.channels=[4]",
]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory, new_database) -> Path:
    """The folder in which a tiny run was made."""
    home = tmp_path_factory.mktemp("ratings")
    write_tiny_data(home)
    new_database(home)
    rows = [f"case_{number},p{number // 2},{1 + number % 5},{6 if number % 3 else 3}" for number in range(10)]
    (home / "nodules.csv").write_text("\n".join(["nodule,patient,malignancy,calcification", *rows]) + "\n")
    segpipe(*WORDS, *TINY, "hydra.run.dir=run", cwd=home, before=skip_onnx)
    return home


@pytest.mark.slow
def test_every_nodule_is_rated_by_a_fold_without_its_patient(run):
    _, rows = read_csv(run / "run/evaluation/ratings.csv")
    assert [row["case"] for row in rows] == [f"case_{number}" for number in range(10)]
    assert {row["fold"] for row in rows} == {"0", "1"}
    assert len({(row["patient"], row["fold"]) for row in rows}) == 5  # two nodules of each
    assert [row["malignancy"] for row in rows] == ["1", "2", "3", "4", "5"] * 2
    assert [row["calcification"] for row in rows] == [str(int(number % 3 == 0)) for number in range(10)]
    assert all(0 < float(row["malignancy_confidence"]) < 1 for row in rows)
    assert all(1 <= float(row["malignancy_mean"]) <= 5 for row in rows)


@pytest.mark.slow
def test_figures_model_and_tracking_agree(run):
    summary = json.loads((run / "run/evaluation/summary.json").read_text())
    figures = summary["metrics"]
    assert (summary["cases"], summary["patients"], summary["folds"]) == (10, 5, 2)
    model = read_rating_folder(run / "run/model")
    assert [scale.name for scale in model.scales] == ["malignancy", "calcification"]
    assert model.about["figures"]["malignancy"]["auc"] == figures["malignancy_auc"]
    client = MlflowClient(f"sqlite:///{run / 'mlflow.db'}")
    (tracked,) = client.search_runs([found.experiment_id for found in client.search_experiments()])
    assert tracked.data.metrics["evaluation/malignancy_auc"] == pytest.approx(figures["malignancy_auc"]["mean"])
    assert tracked.info.status == "FINISHED"


@pytest.mark.slow
def test_the_model_is_of_the_kind_with_the_lower_log_loss(run):
    summary = json.loads((run / "run/evaluation/summary.json").read_text())
    losses = summary["log_loss"]
    assert set(losses) == {"measurements alone", "measurements and crop"}
    assert summary["learnt_from"] == min(losses, key=losses.get)
    model = read_rating_folder(run / "run/model")
    assert bool(model.layers.channels) == (summary["learnt_from"] == "measurements and crop")
    own = sum(summary["metrics"][f"{rating}_log_loss"]["mean"] for rating in ("malignancy", "calcification"))
    assert own == pytest.approx(min(losses.values()))


@pytest.mark.parametrize("word", ["check=true", "resume=true"])
def test_it_is_neither_tried_nor_resumed(word, tmp_path):
    settings = settings_of(compose([*WORDS, word], registries), registries())
    with pytest.raises(ConfigError, match="a run of ratings takes minutes and is neither tried nor resumed"):
        run_ratings(settings, {}, tmp_path / "run")


@pytest.mark.parametrize(
    ("word", "mistake"),
    [
        ("ratings.names=[malignancy,fate]", "must be some of malignancy, spiculation"),
        ("ratings.names=[margin,margin]", "must name each rating once"),
        ("ratings.crop.side=4", "ratings.crop.side=4"),
        ("ratings.layers.channel=[8]", "ratings.layers.channel"),
        ("ratings.layers.channels=[6]", "multiple of 4"),
    ],
)
def test_mistakes_in_the_section(word, mistake):
    with pytest.raises(ConfigError) as caught:
        settings_of(compose([*WORDS, word], registries), registries())
    assert mistake in str(caught.value)
