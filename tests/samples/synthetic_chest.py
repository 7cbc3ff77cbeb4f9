"""A coarse chest with two lungs, small enough to be predicted in a moment, and a model that fits it."""

import numpy as np

from tests.samples.synthetic_dicom import ct_slices

AFFINE = np.diag([5.0, 5.0, 10.0, 1.0])
SHAPE = (64, 48, 20)


def chest(seed=0, *, lungs=True):
    """HU (x, y, z) with a body of 30 cm and, if wanted, lungs with a bright ball in the right one."""
    x, y, z = np.meshgrid(*[np.arange(count) for count in SHAPE], indexing="ij")
    hu = np.where(((x - 31.5) / 29) ** 2 + ((y - 23.5) / 20) ** 2 < 1, 40, -1000)
    for centre in (17, 46) if lungs else ():
        inside = ((x - centre) / 11) ** 2 + ((y - 23.5) / 14) ** 2 + ((z - 9.5) / 8) ** 2 < 1
        hu[inside] = -820
    ball = (5 * (x - 17)) ** 2 + (5 * (y - 23)) ** 2 + (10 * (z - 10)) ** 2 < 16**2
    hu[ball] = 30
    return (hu + np.random.default_rng(seed).normal(0, 15, SHAPE)).astype(np.int16)


def chest_series(seed=0, *, lungs=True, **attributes):
    """The slices of a chest as DICOM data sets."""
    slices = ct_slices(chest(seed, lungs=lungs), AFFINE)
    for dataset in slices:
        for name, value in attributes.items():
            setattr(dataset, name, value)
    return slices


def write_chest_model(folder):
    """A model folder of a tiny network with random weights; it finds something in a chest."""
    import torch

    from segpipe.preprocessing.recipe import Recipe
    from tests.samples.small_models import POINT, UNET, write_small

    recipe = Recipe("ct_nodule", (5.0, 5.0, 10.0), (-1000.0, 400.0), (32, 32, 16))
    point = {**POINT, "min_volume_mm3": 20000.0}
    return write_small(
        folder, UNET, recipe, operating_point=point, about={}, example_bcxyz=torch.rand(1, 1, 48, 48, 24)
    ).path
