import hashlib
import json
from dataclasses import replace

import pytest

from segpipe.__main__ import main
from segpipe.datasets.manifest import write_manifest
from segpipe.datasets.sources.folders import find_cases
from segpipe.datasets.splits import assign_roles
from segpipe.datasets.training_cases import limit_training
from segpipe.errors import DatasetError
from segpipe.pipelines.model_evaluation import choose_entries, named_entries, read_case_names

COLUMNS = {"table": None, "case_column": "case", "patient_column": "patient"}


@pytest.fixture(scope="module")
def manifest(tiny_dataset):
    return find_cases(tiny_dataset, **COLUMNS)


def facts_of(roles, **split):
    trained = "\n".join(sorted(entry.id for entry in roles.entries if entry.split == "train"))
    return {"split": {**split, "training_cases_sha256": hashlib.sha256(trained.encode()).hexdigest()}}


@pytest.mark.parametrize("split", [{"fold": 3, "folds": 5, "seed": 7}, {"fold": None, "folds": None, "seed": 2}])
def test_on_its_own_data_a_model_is_evaluated_on_what_its_training_held_out(manifest, split):
    roles = assign_roles(manifest, fold=split["fold"], folds=split["folds"] or 5, seed=split["seed"])
    entries, words = choose_entries(manifest, None, facts_of(roles, **split))
    assert [entry.id for entry in entries] == [entry.id for entry in roles.entries if entry.split == "test"]
    assert words == "test (of the model's own training)"


def test_a_split_by_other_fractions_is_made_again_where_the_model_says_them(manifest):
    roles = assign_roles(manifest, seed=3, fractions=(0.6, 0.2, 0.2))
    facts = facts_of(roles, fold=None, folds=None, seed=3)
    assert choose_entries(manifest, None, facts)[1] == "all"
    told = {"trained_by": {"split": {"fractions": [0.6, 0.2, 0.2]}}}
    entries, words = choose_entries(manifest, None, facts | told)
    assert [entry.id for entry in entries] == [entry.id for entry in roles.entries if entry.split == "test"]
    assert words == "test (of the model's own training)"


def test_a_model_that_was_trained_on_fewer_cases_is_evaluated_on_what_its_split_held_out(manifest):
    roles = limit_training(assign_roles(manifest, fold=1, folds=5, seed=0), 3, seed=0)
    entries, _ = choose_entries(manifest, None, facts_of(roles, fold=1, folds=5, seed=0, limit=3))
    assert [entry.id for entry in entries] == [entry.id for entry in roles.entries if entry.split == "test"]


def test_a_split_that_cannot_be_made_again_is_not_guessed(manifest):
    facts = {"split": {"fold": 0, "folds": 5, "seed": 0, "training_cases_sha256": "other"}}
    assert [choose_entries(manifest, None, known)[1] for known in (facts, {})] == ["all", "all"]


def test_a_split_that_the_data_set_fixes_is_used(manifest):
    fixed = manifest.with_entries(
        [replace(entry, split="test" if number < 2 else "train") for number, entry in enumerate(manifest.entries)]
    )
    assert [entry.id for entry in choose_entries(fixed, None, {})[0]] == ["case_0", "case_1"]
    assert len(choose_entries(fixed, "train", {})[0]) == 8
    assert len(choose_entries(fixed, "all", {})[0]) == 10


def test_a_split_without_cases_is_refused(manifest):
    with pytest.raises(DatasetError, match="no case in this split") as caught:
        choose_entries(manifest, "val", {})
    assert "--split all" in caught.value.hint


def test_a_table_names_the_cases(manifest, tmp_path):
    table = tmp_path / "cases.csv"
    table.write_text("case,dice\ncase_4,0.5\ncase_1,0.7\n")
    names = read_case_names(table)
    assert names == {"case_1", "case_4"}
    assert [entry.id for entry in named_entries(manifest, names)] == ["case_1", "case_4"]


def test_cases_that_the_data_set_lacks_are_named(manifest):
    with pytest.raises(DatasetError, match="the data set lacks cases that the table names") as caught:
        named_entries(manifest, ["case_1", "e", "d", "c", "b"])
    assert caught.value.facts["missing"] == "4 of 5: b, c, d …"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "the table of cases cannot be read"),
        ("patient\np1\n", "the table of cases must have a column case"),
        ("case,patient\n", "the table of cases names no case"),
    ],
)
def test_a_table_that_names_no_cases_is_refused(tmp_path, text, message):
    if text:
        (tmp_path / "cases.csv").write_text(text)
    with pytest.raises(DatasetError, match=message):
        read_case_names(tmp_path / "cases.csv")


@pytest.mark.slow
def test_another_operating_point_and_named_cases_are_evaluated(manifest, untrained_model, tmp_path, capsys):
    write_manifest(manifest, tmp_path / "data")
    (tmp_path / "cases.csv").write_text("case\ncase_1\n")
    words = ["evaluate", "--model", untrained_model, "--data", tmp_path / "data", "--cases", tmp_path / "cases.csv"]
    found = []
    for threshold in (0.01, 0.99):
        out = tmp_path / str(threshold)
        assert main([*map(str, words), "--device", "cpu", "--output", str(out), "--threshold", str(threshold)]) == 0
        summary = json.loads((out / "summary.json").read_text())
        assert (summary["cases"], summary["split"]) == (1, "named cases")
        assert summary["operating_point"]["threshold"] == threshold
        found.append((out / "cases.csv").read_text().splitlines()[1])
    assert found[0].startswith("case_1,")
    assert found[0] != found[1]
    assert main([*map(str, words), "--output", str(tmp_path / "none"), "--fp-per-scan", "1"]) == 2
    assert "the model folder holds no FROC curve to choose a point of" in capsys.readouterr().err
    assert main([*map(str, words), "--output", str(tmp_path / "none"), "--split", "all"]) == 2
    assert "give either --split or --cases" in capsys.readouterr().err


@pytest.mark.slow
def test_a_model_folder_is_evaluated_on_a_data_set_and_bad_cases_are_named(manifest, untrained_model, tmp_path, capsys):
    sphere = replace(manifest.entries[2], extra={"sphere": True})
    entries = [*manifest.entries[:2], sphere, replace(manifest.entries[3], mask=None)]
    write_manifest(manifest.with_entries(entries), tmp_path / "data")
    words = ["evaluate", "--model", untrained_model, "--data", tmp_path / "data", "--output", tmp_path / "out"]
    assert main([*map(str, words), "--device", "cpu"]) == 2
    reported = capsys.readouterr()
    assert "case_3" in reported.err
    assert "takes scans without masks" in reported.err
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (summary["cases"], summary["failed_cases"], summary["split"]) == (3, 1, "all")
    assert summary["metrics"]["dice"]["n"] == 2
    assert summary["lesions"]["tp"] + summary["lesions"]["fn"] == 3
    assert len(summary["data_hash"]) == 16
    assert sorted(file.name for file in (tmp_path / "out" / "masks").iterdir()) == [
        f"case_{n}.nii.gz" for n in range(3)
    ]
    assert summary["detection"]["overlap"]["cpm"] is not None
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert page.count('class="enlarge"') == 2  # the sphere has no Dice by which it could be best or worst
    assert 'id="overlay_best"' in page
    assert 'id="overlay_worst"' in page
    cases = json.loads(page.partition('<script id="views" type="application/json">')[2].partition("</script>")[0])[
        "cases"
    ]
    assert set(cases) == {"overlay_best", "overlay_worst"}
    assert [mask["name"] for mask in cases["overlay_best"]["masks"]] == ["reference", "prediction"]
