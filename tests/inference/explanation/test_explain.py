"""Maps of what findings rest on lie where the findings are, whatever the orientation of the scan."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from segpipe.errors import ConfigError
from segpipe.export.rating_folder import RatingLayers, RatingModel, build_rating_network
from segpipe.geometry import to_world
from segpipe.inference.engines.engine import TorchEngine
from segpipe.inference.engines.gradients import require_gradients
from segpipe.inference.explanation.explain import explain_outlines, explain_rating
from segpipe.inference.options import PredictOptions
from segpipe.inference.predictor import predict_case
from segpipe.inference.ratings.inputs import MEASUREMENTS
from segpipe.inference.ratings.rater import Rater
from segpipe.labels.ratings import RATING_SCALES
from tests.inference.test_predictor import AFFINES, DIVISOR, RECIPE, two_boxes
from tests.samples.small_rating_models import CROP


class Bright(nn.Module):
    """Log odds of 20 for each unit above 0.4; a parameter says where it computes."""

    def __init__(self):
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(20.0))

    def forward(self, images):
        return torch.cat([torch.zeros_like(images), (images - 0.4) * self.slope], dim=1)


MODEL = SimpleNamespace(recipe=RECIPE, divisor=DIVISOR)


@pytest.fixture(scope="module", params=AFFINES)
def found(request):
    case, engine = two_boxes(AFFINES[request.param]), TorchEngine(Bright(), device="cpu", precision="fp32")
    return case, predict_case(case, RECIPE, engine, PredictOptions(), divisor=DIVISOR), engine


def test_each_finding_rests_on_its_own_voxels(found):
    """The score is a mean over a finding's voxels: nothing else counts, but for what interpolation spreads."""
    case, prediction, engine = found
    explained = explain_outlines(case, prediction, engine, MODEL, "gradients")
    shown = explained.volume
    assert (shown.shape, shown.dtype) == (case.image.shape, np.float32)
    assert (shown[20:30, 20:32, 8:14] > 0).mean() > 0.95
    assert (shown[50:54, 50:54, 20:23] > 0).mean() > 0.95
    near = np.zeros(shown.shape, bool)
    near[17:33, 17:35, 6:16] = near[47:57, 47:57, 18:25] = True
    assert not shown[~near].any()
    assert "log odds" in explained.unit
    assert explained.name == "gradients"


def test_a_prediction_without_findings_has_an_empty_map(found):
    case, prediction, engine = found
    nothing = SimpleNamespace(mask=prediction.mask * 0, findings=[])
    assert not explain_outlines(case, nothing, engine, MODEL, "gradients").volume.any()


def test_a_rating_is_explained_within_its_crop(found):
    """A crop of 8 voxels of 2 mm around the middle of each finding, along the patient's axes."""
    case, prediction, _ = found
    torch.manual_seed(0)
    layers, scales = RatingLayers(channels=[4], hidden=4, dropout=0.0), (RATING_SCALES["malignancy"],)
    network = build_rating_network(scales, MEASUREMENTS, layers).eval()
    rater = Rater(RatingModel(network, scales, MEASUREMENTS, CROP, layers, {}), "digest")
    explained = explain_rating(case, prediction, rater, RECIPE.label_map, "gradients")
    places = to_world(case.grid.affine, np.argwhere(explained.volume))
    apart = np.min([np.abs(places - finding.centre_mm).max(axis=1) for finding in prediction.findings], axis=0)
    assert len(places) > 100
    assert apart.max() <= 7.0 + 1e-6  # half of 7 steps
    assert explained.name == "gradients-malignancy"
    assert "expected grade of malignancy" in explained.unit


def test_a_program_cannot_be_explained():
    with pytest.raises(ConfigError, match="needs a network that PyTorch runs") as caught:
        require_gradients(SimpleNamespace(name="onnxruntime on cpu, float32"), "--explain")
    assert caught.value.facts["found"] == "onnxruntime on cpu, float32"
    assert "--backend torch" in caught.value.hint
