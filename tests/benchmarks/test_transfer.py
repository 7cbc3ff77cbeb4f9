"""The table of the study of transfer, from runs of which every figure is known."""

import pytest
import yaml

from benchmarks.transfer import draw_study, read_runs, read_untuned, study_table
from segpipe.errors import DatasetError


def write_run(folder, *, seed, dice, limit=None, source=None, finetune="full", steps=100, rate=1e-3):
    config = {"seed": seed, "data": {"limit": limit}, "init": {"from": source}, "finetune": {"name": finetune}}
    config |= {"trainer": {"max_steps": steps}, "optimizer": {"lr": rate}}
    write_cases(folder / "evaluation", dice)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))


def write_cases(folder, dice):
    folder.mkdir(parents=True)
    rows = [f"c{number},p{number},{value}" for number, value in enumerate(dice)]
    (folder / "cases.csv").write_text("\n".join(["case,patient,dice", *rows]) + "\n")


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


def test_runs_of_other_steps_or_rates_have_rows_of_their_own(tmp_path):
    for seed in range(3):
        write_run(tmp_path / f"a{seed}", seed=seed, dice=[0.5, 0.7], limit=10)
    write_run(tmp_path / "b", seed=0, dice=[0.6, 0.9], limit=10, steps=400)
    write_run(tmp_path / "c", seed=0, dice=[0.6, 0.9], limit=10, source="runs/pre", rate=3e-4)
    rows = {row["start"]: row for row in study_table(read_runs([tmp_path]))}
    assert list(rows) == ["scratch", "pre, rate 0.0003", "scratch, 400 steps"]
    assert (rows["scratch"]["seeds"], rows["scratch, 400 steps"]["minus_scratch"]) == (3, "0.1500")


def test_every_start_is_compared_with_the_model_that_has_learnt_nothing_here(tmp_path):
    write_run(tmp_path / "runs" / "0", seed=0, dice=[0.5, 0.7], limit=10)
    write_run(tmp_path / "runs" / "1", seed=0, dice=[0.8, 0.9], source="runs/pre")
    write_cases(tmp_path / "pre", [0.6, 0.8, 0.1])  # the third case is held out by no run
    runs = read_runs([tmp_path / "runs"])
    first, *rows = study_table(runs, read_untuned(tmp_path / "pre", runs))
    assert (first["limit"], first["start"], first["cases"], first["dice"]) == ("0", "pre, as it is", 2, "0.7000")
    assert [row["minus_untuned"] for row in rows] == ["-0.1000", "0.1500"]
    assert (rows[1]["untuned_low"], rows[1]["untuned_high"]) == ("0.1000", "0.2000")  # by case 0.2 and 0.1
    picture = draw_study(runs, read_untuned(tmp_path / "pre", runs))
    assert picture.startswith(b"\x89PNG")


def test_an_evaluation_that_lacks_held_out_cases_is_refused(tmp_path):
    write_run(tmp_path / "runs" / "0", seed=0, dice=[0.5, 0.7])
    write_cases(tmp_path / "pre", [0.6])
    with pytest.raises(DatasetError, match="must have the held-out cases"):
        read_untuned(tmp_path / "pre", read_runs([tmp_path / "runs"]))


def test_folders_without_runs_are_named(tmp_path):
    with pytest.raises(DatasetError, match="there is no evaluated run"):
        read_runs([tmp_path])


def test_runs_on_other_data_are_named(tmp_path):
    write_run(tmp_path / "0", seed=0, dice=[0.5, 0.7])
    write_run(tmp_path / "1", seed=0, dice=[0.5, 0.7])
    other = tmp_path / "1" / "evaluation" / "cases.csv"
    other.write_text(other.read_text().replace("c0", "x0").replace("c1", "x1"))
    with pytest.raises(DatasetError, match="no case was held out from all runs") as caught:
        read_runs([tmp_path])
    assert str(tmp_path / "1") in caught.value.facts["folders"]
