"""The table of the study of transfer, from runs of which every figure is known."""

import pytest
import yaml

from benchmarks.transfer import read_runs, study_table
from segpipe.errors import DatasetError


def write_run(folder, *, seed, dice, limit=None, source=None, finetune="full"):
    (folder / "evaluation").mkdir(parents=True)
    config = {"seed": seed, "data": {"limit": limit}, "init": {"from": source}, "finetune": {"name": finetune}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    rows = [f"c{number},p{number},{value}" for number, value in enumerate(dice)]
    (folder / "evaluation" / "cases.csv").write_text("\n".join(["case,patient,dice", *rows]) + "\n")


def test_seeds_are_averaged_by_case_and_each_start_is_compared_with_scratch(tmp_path):
    write_run(tmp_path / "0", seed=0, dice=[0.5, 0.7], limit=10)
    write_run(tmp_path / "1", seed=1, dice=[0.7, 0.9], limit=10)
    write_run(tmp_path / "2", seed=0, dice=[0.8, 0.9], limit=10, source="runs/pre", finetune="gradual")
    write_run(tmp_path / "3", seed=0, dice=[0.9, 0.9])
    write_run(tmp_path / "4", seed=0, dice=[0.8, 0.8], limit=0.3)
    table = study_table(read_runs([tmp_path]))
    assert [(row["limit"], row["start"], row["seeds"]) for row in table] == [
        ("10", "scratch", 2),
        ("10", "pre, gradual", 1),
        ("0.3", "scratch", 1),
        ("all", "scratch", 1),
    ]
    assert (table[0]["dice"], table[0]["sd_over_seeds"]) == ("0.7000", "0.1414")  # means 0.6 and 0.8
    assert (table[1]["dice"], table[1]["minus_scratch"]) == ("0.8500", "0.1500")  # by case 0.8 - 0.6 and 0.9 - 0.8
    assert (table[1]["low"], table[1]["high"]) == ("0.1000", "0.2000")
    assert "minus_scratch" not in table[3]


def test_folders_without_runs_are_named(tmp_path):
    with pytest.raises(DatasetError, match="there is no evaluated run"):
        read_runs([tmp_path])
