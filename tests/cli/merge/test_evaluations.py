"""An evaluation in shards has the figures, tables and page of one call, and goes on where it was cut off."""

import re
from dataclasses import replace

import numpy as np
import pytest

from segpipe.__main__ import main
from segpipe.datasets.manifest import write_manifest
from segpipe.datasets.sources.folders import find_cases
from segpipe.errors import ConfigError, OutputError
from segpipe.evaluation import folders as evaluated_folders
from segpipe.geometry import Grid
from segpipe.io.images.volumes import write_volume
from segpipe.system.shards.records import SHARDS

SHAPE = (12, 12, 8)
GRID = Grid(SHAPE, np.diag([1.0, 1.0, 2.0, 1.0]))


@pytest.fixture
def masks(tmp_path):
    """Nine pairs, of which one has no prediction and one is on another grid, and a table of their patients."""
    lines = ["case,patient,diameter_mm"]
    for number in range(9):
        mask = np.zeros(SHAPE, np.uint8)
        mask[2 : 4 + number % 3, 2:6, 2:5] = 1
        write_volume(tmp_path / "references" / f"c{number}.nii.gz", mask, GRID)
        if number != 4:
            moved = np.roll(mask, number % 2, axis=0)
            grid = Grid(SHAPE, np.diag([1.0, 1.0, 3.0, 1.0])) if number == 7 else GRID
            write_volume(tmp_path / "predictions" / f"c{number}.nii.gz", moved, grid)
        lines.append(f"c{number},p{number // 2},{number}")
    (tmp_path / "table.csv").write_text("\n".join(lines))
    return ["--predictions", "predictions", "--references", "references", "--table", "table.csv", "--processes", "1"]


def evaluate(*words):
    return main(["evaluate", *map(str, words)])


def contents(folder):
    """Of the files that everybody sees; a page without its date."""
    files = {file.name: file for file in folder.rglob("*") if file.is_file() and SHARDS not in file.parts}
    dated = re.compile(rb"\d\d \w+ \d{4}, \d\d:\d\d")
    return {name: dated.sub(b"", file.read_bytes()) for name, file in files.items()}


def test_shards_of_masks_make_what_one_call_makes(masks, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert evaluate(*masks, "--output", "whole") == 2
    whole = capsys.readouterr()
    codes = [evaluate(*masks, "--output", "out", "--shard", f"{number}/3") for number in (2, 3, 1)]
    assert sorted(codes) == [0, 0, 2]
    assert not (tmp_path / "out" / "summary.json").exists()
    capsys.readouterr()
    assert main(["merge", "out"]) == 2
    merged = capsys.readouterr()
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert merged.err == re.sub(r"^evaluating: .*\n", "", whole.err, flags=re.MULTILINE)
    assert merged.out == whole.out.replace("whole", "out")


def test_what_a_killed_shard_has_evaluated_is_not_evaluated_again(masks, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    real, seen = evaluated_folders.evaluate_mask_pair.__globals__["read_volume"], []

    def stop_at_sixth(path):
        seen.append(path.name)
        if len(seen) == 6:
            raise KeyboardInterrupt
        return real(path)

    with monkeypatch.context() as patch:
        patch.setattr(evaluated_folders, "read_volume", stop_at_sixth)
        with pytest.raises(KeyboardInterrupt):
            evaluate(*masks, "--output", "out", "--shard", "1/1")
    assert main(["merge", "out"]) == 2
    assert "at work, or cut off  1/1" in capsys.readouterr().err
    again = []
    monkeypatch.setattr(evaluated_folders, "read_volume", lambda path: again.append(path.name) or real(path))
    assert evaluate(*masks, "--output", "out", "--shard", "1/1") == 2
    assert "c0.nii.gz" not in again
    assert "c1.nii.gz" not in again
    assert set(again) == {f"c{number}.nii.gz" for number in (2, 3, 5, 6, 7, 8)}


def test_changed_masks_and_settings_are_evaluated_again(masks, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert evaluate(*masks, "--output", "out", "--shard", "1/1") == 2
    kept = tmp_path / "out" / SHARDS / "cases" / "c3.json"
    before = kept.read_text()
    write_volume(tmp_path / "predictions" / "c3.nii.gz", np.ones(SHAPE, np.uint8), GRID)
    assert main(["merge", "out"]) == 2
    tables = {"cases.csv", "froc.csv", "froc_by_diameter.csv", "lesions.csv"}
    assert {*tables, "report.html", "summary.json"} == set(contents(tmp_path / "out"))
    assert evaluate(*masks, "--output", "out", "--shard", "1/1") == 2
    assert contents(tmp_path / "out") == {}, "they are of the former masks"
    assert kept.read_text() != before
    kept.unlink()
    assert main(["merge", "out"]) == 2
    assert "the figures of all cases must be there" in capsys.readouterr().err
    assert evaluate(*masks, "--output", "out", "--shard", "1/2", "--seed", "7") == 2
    assert "the same settings" in capsys.readouterr().err


def test_marks_are_not_shared_out(capsys):
    words = ["--marks", "m.csv", "--reference", "luna16", "--annotations", "a", "--output", "o", "--shard", "1/2"]
    assert evaluate(*words) == 2
    assert "flags that --marks does not take" in capsys.readouterr().err


@pytest.mark.slow
def test_shards_of_a_model_make_what_one_call_makes(tiny_dataset, tmp_path, monkeypatch, without_onnx):
    from tests.samples.small_models import UNET, write_small

    monkeypatch.chdir(tmp_path)
    write_small(tmp_path / "model", UNET)
    found = find_cases(tiny_dataset, table=None, case_column="case", patient_column="patient")
    entries = [*found.entries[:3], replace(found.entries[3], mask=None), found.entries[4]]
    write_manifest(found.with_entries(entries), tmp_path / "data")
    words = ["--model", "model", "--data", "data", "--split", "all"]
    assert evaluate(*words, "--output", "whole") == 2
    codes = [evaluate(*words, "--output", f"node{number}", "--shard", f"{number}/2") for number in (1, 2)]
    assert sorted(codes) == [0, 2]
    assert main(["merge", "node1", "node2", "--output", "out"]) == 2
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_unknown_settings_are_named(masks, tmp_path, monkeypatch):
    from segpipe.cli.evaluate.command import run

    monkeypatch.chdir(tmp_path)
    run([*masks, "--output", "out", "--shard", "1/2"])
    with pytest.raises(ConfigError, match="the same settings") as caught:
        run([*masks, "--output", "out", "--shard", "2/2", "--prediction-label", "1"])
    assert caught.value.facts["shard 2/2"].startswith("counted: Foreground(prediction=1")


def test_the_merge_of_figures_that_have_gone_is_refused(masks, tmp_path, monkeypatch):
    from segpipe.cli.evaluate.command import run
    from segpipe.cli.merge import run as merge

    monkeypatch.chdir(tmp_path)
    run([*masks, "--output", "out", "--shard", "1/1"])
    (tmp_path / "out" / SHARDS / "cases" / "c0.json").write_text("{}")
    with pytest.raises(OutputError) as caught:
        merge(["out"])
    assert caught.value.facts["without"] == "c0"
