"""docs/extending.md, word for word: its package is installed outside this project, trained with, then not needed."""

import re
import shlex
import subprocess
import sys
from functools import partial
from pathlib import Path

import nibabel
import numpy as np
import pytest

from segpipe.__main__ import main
from segpipe.export.model_folder import read_model_folder
from tests.samples.small_models import skip_pages, skip_reports
from tests.support.processes import Process, segpipe

pytestmark = pytest.mark.slow
PAGE = Path(__file__).parents[2] / "docs" / "extending.md"
TINY = [
    "recipe.patch=[32,32,16]", "recipe.spacing_mm=[1.0,1.0,1.5]", "training.batch_size=2",
    "training.validation_patches=4", "training.validate_every=4", "training.log_every=1", "trainer=cpu",
    "trainer.max_steps=8", "trainer.workers=0", "trainer.progress=false", "data.workers=0", "tracking=none",
    "evaluation.overlays=0",
]  # fmt: skip


def blocks(language: str) -> list[str]:
    """The code blocks of the page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL)


def commands() -> list[list[str]]:
    """The words of each command of the page, behind `python -m segpipe`."""
    return [shlex.split(line)[3:] for block in blocks("bash") for line in block.splitlines()]


def check_all(site: str, commands: list[list[str]]) -> None:
    """Composes and checks each command line, which tries each part, and shows it."""
    see(site)
    for words in commands:
        if main([*words, "--cfg", "job"]) != 0:
            sys.exit(1)


def see(site: str) -> None:
    """Makes installed packages visible to a new process, which draws no report."""
    sys.path.insert(0, site)
    skip_reports()


def see_and_skip(site: str) -> None:
    """The same in a process that writes no ONNX model either."""
    see(site)
    skip_pages()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The folder that commands are started in: the page's files, and the package installed below `site`."""
    folder = tmp_path_factory.mktemp("extending")
    for block in [*blocks("toml"), *blocks("python"), *blocks("yaml")]:
        file = folder / re.match(r"# (\S+)\n", block)[1]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(block.partition("\n")[2])
    (folder / "lungkit" / "__init__.py").touch()
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*install, "--target", str(folder / "site"), str(folder)], check=True, capture_output=True)
    for name in ("lungkit", "pyproject.toml", "build"):
        if (folder / name).exists():
            (folder / name).rename(folder / f"source_of_{name}")
    return folder


@pytest.fixture(scope="module")
def with_lungkit(folder):
    return partial(segpipe, cwd=folder, before=partial(see, str(folder / "site")))


@pytest.fixture(scope="module")
def dataset(folder, with_lungkit, tiny_dataset) -> Path:
    """The data set that the page's source makes of archives, one of which is bad."""
    (folder / "archives").mkdir()
    for file in sorted((tiny_dataset / "images").glob("*.nii.gz")):
        image, mask = (nibabel.load(tiny_dataset / kind / file.name).get_fdata() for kind in ("images", "masks"))
        arrays = {"image": image.astype(np.int16), "mask": mask.astype(np.uint8), "spacing_mm": [1.0, 1.0, 1.5]}
        np.savez(folder / "archives" / f"{file.name.removesuffix('.nii.gz')}.npz", **arrays)
    np.savez(folder / "archives" / "empty.npz", mask=[0])
    words = next(words for words in commands() if words[0] == "ingest")
    text = with_lungkit(*words, code=2)
    assert "10 cases (10 new, 1 left out)" in text
    assert "missing  image, spacing_mm" in text
    return folder / "lungs"


def test_every_command_of_the_page_is_valid(folder, with_lungkit, dataset):
    training = [words for words in commands() if words[0] != "ingest"]
    assert len(training) >= 12
    log = folder / "check.log"
    process = Process(check_all, str(folder / "site"), training, cwd=folder, log=log)
    assert process.wait() == 0, log.read_text()
    assert log.read_text().count("_target_: segpipe.preprocessing.augmentation.RandSpatiald") == len(training)


@pytest.fixture(scope="module")
def model(folder, with_lungkit, dataset) -> Path:
    """The page's last command: everything of the package in one run."""
    text = with_lungkit(f"hydra.run.dir={folder / 'run'}", *TINY, *commands()[-1])
    assert "held-out cases of lungs" in text
    return folder / "run" / "model"


def test_the_model_predicts_without_the_package(folder, model, dataset):
    assert read_model_folder(model).exported
    scan = dataset / "images" / "case_0.nii.gz"
    text = segpipe("predict", "--model", model, "--input", scan, "--output", folder / "out", cwd=folder)
    assert "computed by onnxruntime on cpu" in text
    assert "lungkit" not in sys.modules
    assert nibabel.load(folder / "out" / "case_0.nii.gz").shape == (40, 40, 24)


def test_a_run_with_the_package_is_resumed(folder, model):
    words = [word.replace("max_steps=8", "max_steps=10") for word in TINY]
    words = [f"hydra.run.dir={folder / 'run'}", "resume=true", *words, *commands()[-1]]
    text = segpipe(*words, cwd=folder, before=partial(see_and_skip, str(folder / "site")))
    assert "resuming from last.ckpt" in text


def test_a_run_with_a_plug_in_s_network_is_exported_again_where_it_is_installed(folder, model, with_lungkit):
    words = ["export", "--checkpoint", folder / "run", "--output", folder / "again"]
    assert "model    " in with_lungkit(*words)
    assert "unknown network" in segpipe(*words, cwd=folder, code=2)
