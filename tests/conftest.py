"""What several rooms' tests share: the processes they run in, small data sets and models, a database, a browser."""

import gc
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from segpipe.__main__ import COLLECT_AFTER
from tests.support.workers import COUNT, make_once, shared_folder, usable_cores

# Nothing here may import torch or numpy on top: they read the number of threads when they are loaded.
MOST_PROCESSES = 8  # each takes about 1.5 GB

settings.register_profile("segpipe", deadline=None)
settings.load_profile("segpipe")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """The whole suite runs in a process per core and one more, since tests wait, too; named tests run in one.

    `-n` has the last word.
    """
    option = config.option
    if "PYTEST_XDIST_WORKER" in os.environ:
        return  # one of those processes, which must not start more
    if getattr(option, "numprocesses", 0) is None and not option.file_or_dir and not option.usepdb:
        option.numprocesses = min(usable_cores() + 1, MOST_PROCESSES)
    if getattr(option, "numprocesses", None) and option.dist == "no":
        option.dist, option.loadscopereorder = "loadfile", False  # fixtures of a file are made once


def pytest_configure(config: pytest.Config) -> None:
    """Each process that runs tests gets its share of the cores, and no test sees the user's own MLflow."""
    if getattr(config.option, "dist", "no") == "no":
        threads = os.environ.setdefault("OMP_NUM_THREADS", str(max(1, usable_cores() // COUNT)))
        for name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):  # PyTorch follows MKL's
            os.environ.setdefault(name, threads)
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # a thread that waits leaves its core to the others
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    gc.set_threshold(COLLECT_AFTER)


def pytest_collection_finish() -> None:
    """What the libraries hold is not searched for garbage again and again."""
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first, so that no process is still busy when the others have nothing left."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(autouse=True)
def own_logging() -> Iterator[None]:
    """What commands set up for their logs, in a fixture of a file too, ends with the streams of the test."""
    yield
    root = logging.getLogger()
    for handler in list(root.handlers):
        if not type(handler).__module__.startswith("_pytest."):
            root.removeHandler(handler)
            handler.close()
    root.setLevel(logging.WARNING)
    for name, logger in root.manager.loggerDict.items():
        if isinstance(logger, logging.Logger):
            logger.disabled = False  # some of Hydra's ways of logging disable every logger there is
            if name.startswith("segpipe"):
                logger.setLevel(logging.NOTSET)


@pytest.fixture(scope="session", autouse=True)
def cache_of_the_run(tmp_path_factory) -> None:
    """The cache of prepared cases: one for all processes of this test run, never the user's own."""
    os.environ["SEGPIPE_CACHE"] = str(shared_folder(tmp_path_factory.getbasetemp()) / "cache")


@pytest.fixture(scope="session")
def realdata() -> Path:
    """The folder of real CT; skips where it is absent."""
    folder = os.environ.get("SEGPIPE_REALDATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("SEGPIPE_REALDATA does not point to the folder of real CT")
    return Path(folder)


@pytest.fixture(scope="session")
def tiny_dataset(tmp_path_factory) -> Path:
    """Ten scans of 40×40×24 voxels, each with one bright ball on a noisy dark ground: learnt within a few steps."""
    from tests.samples.tiny_data import write_tiny_data

    return make_once(tmp_path_factory.getbasetemp(), "tiny", write_tiny_data)


@pytest.fixture(scope="session")
def tiny_words(tiny_dataset) -> list[str]:
    """Overrides that train a tiny network on the tiny data set in seconds."""
    return [
        "+experiment=lung_nodule",
        "data=nifti",
        f"data.root={tiny_dataset}",
        "data.workers=0",
        "optimizer=adamw_nodule",
        "network=unet_small",
        "network.channels=[8,16]",
        "network.strides=[2]",
        "network.num_res_units=1",
        "network.dropout=0.1",
        "recipe.patch=[32,32,16]",
        "recipe.spacing_mm=[1.0,1.0,1.5]",
        "sampling=scan",
        "loss=dice_ce",
        "training.batch_size=2",
        "training.validation_patches=4",
        "training.validate_every=5",
        "training.checkpoint_every=2",
        "training.log_every=1",
        "evaluation.overlays=0",
        "trainer=cpu",
        "trainer.max_steps=12",
        "trainer.workers=0",
        "trainer.progress=false",
    ]


@pytest.fixture(scope="session")
def untrained_model(tmp_path_factory) -> Path:
    """A model folder with random weights: opens and predicts like any other (slow: it is exported to ONNX)."""
    from tests.samples.small_models import UNET, write_small

    def make(folder: Path) -> None:
        write_small(folder, {**UNET, "channels": [8, 16]}, about={})

    return make_once(tmp_path_factory.getbasetemp(), "untrained_model", make)


@pytest.fixture(scope="session")
def chest_model(tmp_path_factory) -> Path:
    """A model folder, its ONNX model empty, of a tiny network with random weights that finds something in a chest."""
    from tests.samples.small_models import without_onnx_export
    from tests.samples.synthetic_chest import write_chest_model

    with without_onnx_export():
        return make_once(tmp_path_factory.getbasetemp(), "chest_model", write_chest_model)


@pytest.fixture
def without_onnx() -> Iterator[None]:
    """Model folders get an empty file for the ONNX model, whose export takes most of the time."""
    from tests.samples.small_models import without_onnx_export

    with without_onnx_export():
        yield


@pytest.fixture
def without_reports() -> Iterator[None]:
    """Runs draw no reports, which is a third of a small run."""
    from tests.samples.small_models import without_reports_drawn

    with without_reports_drawn():
        yield


@pytest.fixture(scope="session")
def new_database(tmp_path_factory) -> Callable[[Path], str]:
    """Puts an empty MLflow database into a folder and returns its address: a copy, as making one takes seconds."""
    from segpipe.tracking.server import connect

    def make(file: Path) -> None:
        connect(f"sqlite:///{file}")

    empty = make_once(tmp_path_factory.getbasetemp(), "mlflow.db", make)

    def put(folder: Path) -> str:
        folder.mkdir(parents=True, exist_ok=True)
        return f"sqlite:///{shutil.copy(empty, folder / 'mlflow.db')}"

    return put


@pytest.fixture(autouse=True)
def own_tracking_address():
    """Addresses are kept in the environment, which child processes inherit: every test gets its own back."""
    names = ("MLFLOW_TRACKING_URI", "SEGPIPE_TRACKING_URI")
    before = {name: os.environ.get(name) for name in names}
    yield
    for name, value in before.items():
        os.environ.pop(name, None)
        os.environ.update({} if value is None else {name: value})


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """Headless Chromium that reaches this machine alone; one for the tests of a file."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    if not chromium or not driver:
        pytest.skip("Chromium and its driver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    words = ["--headless", "--no-sandbox", "--no-first-run", "--no-proxy-server", "--disable-background-networking"]
    words += ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--hide-scrollbars"]
    words += ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--window-size=900,900"]
    for word in (*words, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    started = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield started
    started.quit()
