"""A model goes on with new cases and old ones, as it was trained, and the commands of the log say what came of it."""

import json
import shlex
from pathlib import Path

import numpy as np
import pytest

from segpipe.io.images.volumes import read_volume, write_volume
from segpipe.system.files.csv_table import read_csv
from tests.samples.small_models import skip_pages
from tests.support.processes import segpipe

pytestmark = pytest.mark.slow
HARDWARE = ["data.workers=0", "trainer=cpu", "trainer.workers=0", "trainer.progress=false", "tracking=none"]
SPLIT = ["data.fractions=[0.6,0.2,0.2]", "data.split_seed=3"]


@pytest.fixture(scope="module")
def home(tmp_path_factory, tiny_dataset, tiny_words) -> Path:
    """A data set, one of five of its scans mirrored, and a model of the first that has gone on with the other."""
    home = tmp_path_factory.mktemp("home")
    for number in range(5):
        for kind in ("images", "masks"):
            scan = read_volume(tiny_dataset / kind / f"case_{number}.nii.gz")
            write_volume(
                home / "mirrored" / kind / f"new_{number}.nii.gz", np.ascontiguousarray(scan.array[::-1]), scan.grid
            )
    for folder, output in ((tiny_dataset, "old"), (home / "mirrored", "new")):
        segpipe("ingest", "--source", "nifti", "--input", folder, "--output", output, "--workers", 0, cwd=home)
    words = [word for word in tiny_words if not word.startswith(("data=", "data.root="))]
    first = ["data=manifest", "data.root=old", *SPLIT, "tracking=none", "hydra.run.dir=first"]
    segpipe(*words, *first, cwd=home, before=skip_pages)
    more = ["init.from=first", "data.root=new", "data.rehearsal=old", "hydra.run.dir=second"]
    (home / "log").write_text(segpipe("+experiment=continue", *more, *HARDWARE, cwd=home, before=skip_pages))
    return home


def test_it_goes_on_as_it_was_trained_and_says_so(home):
    log = (home / "log").read_text()
    assert "goes on with first, as it was trained: recipe, network, sampling, " in log
    assert "learning rate 0.001 (there 0.003), 3 steps (there 12)" in log
    assert json.loads((home / "second" / "init.json").read_text())["loaded"] == "100 %"
    facts = json.loads((home / "second" / "model" / "segpipe.json").read_text())["facts"]
    assert (facts["experiment"], facts["steps"]) == ("continued", 3)
    assert (facts["trained_by"]["continued"], facts["trained_by"]["steps"]) == (True, 3)
    assert facts["init"]["lineage"].startswith("lung_nodule on ")
    card = (home / "second" / "model" / "docs" / "README.md").read_text()
    assert "+experiment=continue init.from=MODEL data.root=NEW" in card


def test_old_cases_that_were_held_out_stay_held_out(home):
    before, after = (read_csv(home / run / "split.csv")[1] for run in ("first", "second"))
    rehearsed = {row["case"].removeprefix("rehearsal_"): row["role"] for row in after if "rehearsal_" in row["case"]}
    assert rehearsed == {row["case"]: "train" for row in before if row["role"] == "train"}
    assert len(rehearsed) == 6
    assert sorted(row["role"] for row in after if row["case"].startswith("new_")) == [
        "test",
        "train",
        "train",
        "train",
        "val",
    ]


def test_the_commands_of_the_log_compare_the_models_on_new_cases_and_on_old_ones(home):
    commands = [line for line in (home / "log").read_text().splitlines() if "python -m segpipe evaluate" in line]
    for line in commands:
        for command in line[line.index("python") :].split(" && "):
            segpipe(*shlex.split(command)[3:], cwd=home, before=skip_pages)
    held_out = {run: _held_out(home / run) for run in ("first", "second")}
    for which, run in (("new", "second"), ("old", "first")):
        (pair,) = json.loads((home / "second" / "comparison" / which / "comparison.json").read_text())["pairs"]
        assert pair["cases_shared"] == len(held_out[run])
        assert {row["case"] for row in pair["cases"]} <= held_out[run]
    assert (len(held_out["first"]), len(held_out["second"])) == (2, 1)


def _held_out(run: Path) -> set[str]:
    return {row["case"] for row in read_csv(run / "split.csv")[1] if row["role"] == "test"}
