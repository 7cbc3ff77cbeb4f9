"""Small scans with known lesions, as entries that the cache can prepare; for the tests of the training data path."""

import os
from pathlib import Path

import numpy as np
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from segpipe.case import Case
from segpipe.config.folder import conf_folder
from segpipe.datasets.manifest import Entry
from segpipe.geometry import Grid
from segpipe.preprocessing.cache.build import build_cache
from segpipe.preprocessing.recipe import Recipe

LABELS = {1: "nodule"}


def make_recipe(**changes):
    values = {"spacing_mm": (1.0, 1.0, 1.0), "window_hu": (-1000.0, 400.0), "patch": (16, 16, 8)}
    return Recipe("test", **{**values, **changes})


def augmentation_spec(name: str, *words: str):
    """The values that segpipe ships for an augmentation, and overrides of them, e.g. `noise.prob=1`."""
    with initialize_config_dir(str(conf_folder() / "augmentation"), version_base="1.3"):
        return OmegaConf.to_container(compose(name, overrides=list(words)))


def make_scan(shape=(40, 36, 24), lesions=(), seed=0):
    """A block of soft tissue in air with noise, and box-shaped lesions given as (first voxel, size)."""
    rng = np.random.default_rng(seed)
    image = np.full(shape, -1000, dtype=np.int16)
    image[4:-4, 4:-4, :] = 40
    image += rng.integers(-20, 20, shape).astype(np.int16)
    mask = np.zeros(shape, dtype=np.uint8)
    for first, size in lesions:
        mask[tuple(slice(low, low + size) for low in first)] = 1
    return image, mask


def save_entry(folder: Path, case_id: str, image, mask, affine=None) -> Entry:
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{case_id}_{kind}.npy" for kind in ("image", "mask")]
    for file, array in zip(files, (image, mask), strict=True):
        np.save(file, array)
    extra = {"affine": np.eye(4) if affine is None else affine}
    return Entry(case_id, patient=case_id, image=files[0], mask=files[1], extra=extra)


def load_entry(entry: Entry) -> Case:
    image = np.load(entry.image)
    mask = None if entry.mask is None else np.load(entry.mask)
    return Case(entry.id, image, Grid(image.shape, entry.extra["affine"]), mask)


def die(entry: Entry) -> Case:
    """Ends the process that loads, as a system out of memory does."""
    os._exit(137)


def prepare(folder: Path, scans, recipe: Recipe, labels=LABELS):
    """Caches (image, mask) pairs in this process."""
    entries = [save_entry(folder / "data", f"case{number}", *scan) for number, scan in enumerate(scans)]
    return build_cache(entries, recipe, labels, folder=folder / "cache", load=load_entry, workers=0, progress=False)
