"""What several rooms' tests share: small data sets, the way to the real scans, and a browser."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

settings.register_profile("segpipe", deadline=None)
settings.load_profile("segpipe")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "1")


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
    from segpipe.geometry import Grid
    from segpipe.io.images.volumes import write_volume

    root = tmp_path_factory.mktemp("tiny")
    rng = np.random.default_rng(0)
    grid = Grid((40, 40, 24), np.diag([1.0, 1.0, 1.5, 1.0]))
    axes = np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij")
    for number in range(10):
        centre = rng.uniform(12, 28), rng.uniform(12, 28), rng.uniform(8, 16)
        distance = np.sqrt(sum(((axis - c) * s) ** 2 for axis, c, s in zip(axes, centre, grid.spacing_mm, strict=True)))
        mask = distance < rng.uniform(4, 7)
        image = np.where(mask, 0, -850) + rng.normal(0, 30, grid.shape)
        write_volume(root / "images" / f"case_{number}.nii.gz", image.astype(np.int16), grid)
        write_volume(root / "masks" / f"case_{number}.nii.gz", mask.astype(np.uint8), grid)
    return root


@pytest.fixture(scope="session")
def tiny_words(tiny_dataset) -> list[str]:
    """Overrides that train a tiny network on the tiny data set in seconds."""
    return [
        "+experiment=lung_nodule",
        "data=nifti",
        f"data.root={tiny_dataset}",
        "data.workers=0",
        "network.channels=[8,16]",
        "network.strides=[2]",
        "network.num_res_units=1",
        "network.dropout=0.1",
        "recipe.patch=[32,32,16]",
        "recipe.spacing_mm=[1.0,1.0,1.5]",
        "training.batch_size=2",
        "training.validation_patches=4",
        "training.validate_every=5",
        "training.checkpoint_every=2",
        "training.log_every=1",
        "trainer=cpu",
        "trainer.max_steps=12",
        "trainer.workers=0",
        "trainer.progress=false",
    ]


@pytest.fixture(scope="session")
def untrained_model(tmp_path_factory) -> Path:
    """A model folder with random weights: opens and predicts like any other (slow: it is exported to ONNX)."""
    from tests.small_models import UNET, write_small

    return write_small(tmp_path_factory.mktemp("untrained") / "model", {**UNET, "channels": [8, 16]}, facts={}).path


@pytest.fixture(autouse=True)
def own_tracking_address():
    """MLflow keeps its address in the environment, which child processes inherit: every test gets its own back."""
    before = os.environ.get("MLFLOW_TRACKING_URI")
    yield
    if before is None:
        os.environ.pop("MLFLOW_TRACKING_URI", None)
    else:
        os.environ["MLFLOW_TRACKING_URI"] = before


@pytest.fixture(scope="session")
def chest_model(tmp_path_factory) -> Path:
    """A model folder of a tiny network with random weights that finds something in a synthetic chest (slow)."""
    from tests.synthetic_chest import write_chest_model

    return write_chest_model(tmp_path_factory.mktemp("chest") / "model")


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
    words += ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--window-size=1300,1300"]
    for word in (*words, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    started = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield started
    started.quit()
