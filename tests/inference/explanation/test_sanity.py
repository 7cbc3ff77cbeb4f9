"""Maps of the model that rides in the package, on a real nodule: they sit on it, and on its weights."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_dilation
from scipy.stats import rankdata, spearmanr

from segpipe.case import Case
from segpipe.datasets.samples import FOLDER
from segpipe.export.model_folder import load_network, read_model_folder
from segpipe.export.shipped import find_model
from segpipe.inference.engines.engine import TorchEngine
from segpipe.inference.explanation import attribution
from segpipe.inference.explanation.explain import explain_outlines, explain_rating
from segpipe.inference.options import PredictOptions
from segpipe.inference.predictor import predict_case
from segpipe.inference.ratings.rater import Rater
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


def ranks_above(shown, reference):
    """How often a voxel of the nodule ranks above one outside; chance is 0.5."""
    ranks, count = rankdata(shown).reshape(shown.shape), reference.sum()
    return (ranks[reference].sum() - count * (count + 1) / 2) / (count * (reference.size - count))


def test_a_rating_rests_on_the_nodule_and_on_its_weights(nodule):
    """What is farther than 3 mm from the nodule is hidden from the rating network, so weights are compared inside."""
    model, network, case, reference = nodule
    found = predict_case(case, model.recipe, engine(network), PredictOptions(), divisor=model.divisor)
    rater, labels = Rater.open(find_model("lidc-ratings")), model.recipe.label_map
    trained = np.abs(explain_rating(case, found, rater, labels, "gradients").volume)
    assert ranks_above(trained, reference) > 0.75
    random = Rater(replace(rater.model, network=randomised(rater.model.network)), "random")
    other = np.abs(explain_rating(case, found, random, labels, "gradients").volume)
    seen = trained > 0
    assert seen.sum() > 100
    assert abs(spearmanr(trained[seen], other[seen]).statistic) < 0.6


@pytest.mark.parametrize("method", attribution.METHODS)
def test_maps_sit_on_the_nodule_and_random_weights_destroy_them(nodule, method, monkeypatch):
    monkeypatch.setattr(attribution, "STEPS", 8)
    monkeypatch.setattr(attribution, "STRIDES", 4)
    model, network, case, reference = nodule
    found = predict_case(case, model.recipe, engine(network), PredictOptions(), divisor=model.divisor)
    trained, other = (
        explain_outlines(case, found, engine(one), model, method).volume for one in (network, randomised(network))
    )
    assert ranks_above(np.abs(trained), reference) > 0.75
    if method == "occlusion":  # hiding the nodule moves any score that is taken on it: what is lost is how far
        assert np.abs(other).max() < 0.1 * np.abs(trained).max()
    else:
        sibling = explain_outlines(case, found, engine(load_network(model).members[1]), model, method).volume
        near = binary_dilation(reference, iterations=2)
        assert abs(spearmanr(trained[near], other[near]).statistic) < 0.4
        assert spearmanr(trained[near], sibling[near]).statistic > 0.6
