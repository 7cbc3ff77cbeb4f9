"""The table of folds and seeds, from runs of which every figure is known."""

import pytest
import yaml

from benchmarks.folds_and_seeds import fold_table, read_folds
from segpipe.errors import DatasetError


def write_fold(folder, *, seed, fold, dice):
    """A fold whose cases c0, c1 … are each of a patient of its own."""
    folder = folder / str(seed) / f"fold_{fold}"
    (folder / "evaluation").mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump({"seed": seed, "data": {"fold": fold}}))
    rows = [f"f{fold}c{number},f{fold}p{number},{value}" for number, value in enumerate(dice)]
    (folder / "evaluation" / "cases.csv").write_text("\n".join(["case,patient,dice", *rows]) + "\n")


def test_each_seed_has_a_row_and_the_spread_is_over_seeds(tmp_path):
    write_fold(tmp_path, seed=1, fold=0, dice=[0.9, 0.9])
    write_fold(tmp_path, seed=1, fold=1, dice=[0.6])
    write_fold(tmp_path, seed=0, fold=0, dice=[0.7, 0.9])
    write_fold(tmp_path, seed=0, fold=1, dice=[0.5])
    first, second, mean, spread = fold_table(read_folds([tmp_path]))
    assert [row["seed"] for row in (first, second, mean, spread)] == ["0", "1", "mean", "sd"]
    assert (first["fold_0"], first["fold_1"], first["all"]) == ("0.8000", "0.5000", "0.7000")  # (0.7 + 0.9 + 0.5) / 3
    assert first["sd_over_folds"] == "0.2121"  # 0.3 / √2
    assert (second["all"], mean["all"], spread["all"]) == ("0.8000", "0.7500", "0.0707")
    # by case 0.8, 0.9, 0.55: of three patients drawn with replacement the middle 95 % of means are all there are
    assert (mean["low"], mean["high"]) == ("0.5500", "0.9000")


def test_one_seed_has_no_spread(tmp_path):
    write_fold(tmp_path, seed=0, fold=0, dice=[0.7, 0.9])
    *_, spread = fold_table(read_folds([tmp_path]))
    assert spread["all"] == "nan"


def test_seeds_must_have_the_same_folds_of_the_same_cases(tmp_path):
    with pytest.raises(DatasetError, match="there is no evaluated fold"):
        read_folds([tmp_path])
    write_fold(tmp_path, seed=0, fold=0, dice=[0.7])
    write_fold(tmp_path, seed=0, fold=1, dice=[0.7])
    write_fold(tmp_path, seed=1, fold=0, dice=[0.7])
    with pytest.raises(DatasetError, match="every seed must have the same folds"):
        read_folds([tmp_path])
    write_fold(tmp_path, seed=1, fold=1, dice=[0.7, 0.8])
    with pytest.raises(DatasetError, match="of the same cases"):
        read_folds([tmp_path])


def test_a_fold_that_is_there_twice_is_refused(tmp_path):
    for name in ("a", "b"):
        write_fold(tmp_path / name, seed=0, fold=0, dice=[0.7])
    with pytest.raises(DatasetError, match="each once"):
        read_folds([tmp_path])
