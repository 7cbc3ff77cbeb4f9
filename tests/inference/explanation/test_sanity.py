"""Maps of the model that rides in the package, on a real nodule: they sit on it, and on its weights."""

import copy

import numpy as np
import pytest
import torch
from scipy.stats import rankdata, spearmanr

from segpipe.case import Case
from segpipe.datasets.samples import FOLDER
from segpipe.export.model_folder import load_network, read_model_folder
from segpipe.export.shipped import find_model
from segpipe.inference.engines.engine import TorchEngine
from segpipe.inference.explanation import attribution
from segpipe.inference.explanation.explain import explain_outlines
from segpipe.inference.options import PredictOptions
from segpipe.inference.predictor import predict_case
from segpipe.io.images.volumes import read_volume

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def nodule():
    """One member of the shipped ensemble, and of nine nodules of the sample the one of the middle size."""
    model = read_model_folder(find_model("lidc-voi"))
    network = load_network(model).members[0]
    masks = sorted((FOLDER / "lidc_sample" / "masks").iterdir())[:9]
    file = sorted(masks, key=lambda file: int(read_volume(file).array.sum()))[4]
    volume = read_volume(FOLDER / "lidc_sample" / "images" / file.name)
    return model, network, Case("nodule", volume.array, volume.grid), read_volume(file).array > 0


def engine(network):
    return TorchEngine(network, device="cpu", precision="fp32")


def randomised(network):
    """All weights drawn anew, as large as they are.

    Source:
        Adebayo et al., Sanity Checks for Saliency Maps, NeurIPS 2018.
    """
    torch.manual_seed(0)
    other = copy.deepcopy(network)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.copy_(torch.randn_like(parameter) * parameter.std(correction=0) + parameter.mean())
    return other


@pytest.mark.parametrize("method", attribution.METHODS)
def test_maps_sit_on_the_nodule_and_random_weights_destroy_them(nodule, method, monkeypatch):
    monkeypatch.setattr(attribution, "STEPS", 8)
    monkeypatch.setattr(attribution, "STRIDES", 4)
    model, network, case, reference = nodule
    found = predict_case(case, model.recipe, engine(network), PredictOptions(), divisor=model.divisor)
    trained, other = (
        np.abs(explain_outlines(case, found, engine(one), model, method).volume)
        for one in (network, randomised(network))
    )
    ranks, count = rankdata(trained).reshape(trained.shape), reference.sum()
    area = (ranks[reference].sum() - count * (count + 1) / 2) / (count * (reference.size - count))
    assert area > 0.75, "how often a voxel of the nodule ranks above one outside; chance is 0.5"
    if method == "occlusion":  # hiding the nodule moves any score that is taken on it: what is lost is how far
        assert other.max() < 0.1 * trained.max()
    else:
        assert abs(spearmanr(trained.ravel(), other.ravel()).statistic) < 0.6
