"""The notebooks run from the first cell to the last in a folder of their own, and are kept without outputs."""

import os
import re
from pathlib import Path

import nbformat
import pytest

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
NAMES = ("01_quickstart", "02_compare_runs", "03_inspect_predictions", "04_optimizers")
LITTLE_WORK = """
cases, steps = 4, 20
spacing_mm = "[3.0,3.0,4.0]"
"""
SKIPPED = "from tests.samples import small_models; small_models.skip_pages(); small_models.start_no_workers()"
"""What the notebooks do not look at: ONNX models and pages; and processes, which take longer to start than the work."""


@pytest.fixture(scope="module")
def workplace(tmp_path_factory, new_database):
    """One folder for all: a later notebook goes on with the runs of the earlier ones, or makes its own."""
    folder = tmp_path_factory.mktemp("notebooks")
    new_database(folder)
    return folder


def read(name):
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def code_of(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_the_notebooks_are_those_that_are_tested():
    assert sorted(path.stem for path in FOLDER.glob("*.ipynb")) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_kept_without_outputs_and_defines_nothing(name):
    notebook = read(name)
    nbformat.validate(notebook)
    assert code_of(notebook)
    for cell in code_of(notebook):
        assert cell.outputs == []
        assert cell.execution_count is None
        assert not re.search(r"^\s*(def|class) ", cell.source, flags=re.M)


@pytest.fixture(scope="module")
def kernel(workplace):
    """One for all notebooks, which loads the libraries once; each of them finds it without a name."""
    from jupyter_client import AsyncKernelManager
    from jupyter_core.utils import run_sync

    env = {
        "OMP_NUM_THREADS": "1",  # the networks are tiny
        "SEGPIPE_CACHE": str(workplace / "cache"),
        "MLFLOW_TRACKING_URI": f"sqlite:///{workplace}/mlflow.db",
        "PYTHONPATH": os.pathsep.join([str(FOLDER.parent), os.environ.get("PYTHONPATH", "")]),
    }
    manager = AsyncKernelManager()
    run_sync(manager.start_kernel)(cwd=str(workplace), env={**os.environ, **env})
    yield manager
    run_sync(manager.shutdown_kernel)(now=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_runs(name, kernel):
    from nbclient import NotebookClient

    notebook = read(name)
    (parameters,) = [cell for cell in code_of(notebook) if "parameters" in cell.metadata.get("tags", [])]
    parameters.source = LITTLE_WORK + SKIPPED
    notebook.cells.insert(0, nbformat.v4.new_code_cell("%reset_selective -f ^[^_]"))
    client = NotebookClient(notebook, timeout=600, km=kernel)
    try:
        client.execute()
    finally:
        client.kc.stop_channels()
    told = [output for cell in code_of(notebook) for output in cell.outputs]
    text = "".join(output.get("text", "") for output in told)
    assert "Error" not in text, text
    assert sum("image/png" in output.get("data", {}) for output in told) >= (1 if name == "02_compare_runs" else 2)
