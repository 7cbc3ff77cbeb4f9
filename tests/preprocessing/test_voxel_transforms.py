"""A recipe's transforms: a closed list of MONAI's, and the same values in training, prediction and the bundle."""

import json

import monai.transforms
import numpy as np
import pytest
import torch

from segpipe.case import Case
from segpipe.cli.train import registries
from segpipe.config.check import settings_of
from segpipe.config.compose import compose
from segpipe.errors import ConfigError, ModelError
from segpipe.export import writing
from segpipe.export.model_folder import read_model_folder
from segpipe.export.parity import Parity
from segpipe.geometry import Grid
from segpipe.inference.options import PredictOptions
from segpipe.inference.predictor import predict_case
from segpipe.preprocessing.augmentation import Augmentation
from segpipe.preprocessing.recipe import Recipe
from segpipe.preprocessing.resampling import apply_window, normalise
from segpipe.preprocessing.sampling import Sampling
from segpipe.preprocessing.voxel_transforms import apply_transforms, for_bundle
from segpipe.training.data.patches import PatchDataset
from tests.samples.prepared_cases import make_recipe, make_scan, prepare
from tests.samples.small_models import SCAN, write_small

NORMALIZE = {"_target_": "monai.transforms.NormalizeIntensity", "subtrahend": 0.4, "divisor": 0.25}
RANGE = {"_target_": "monai.transforms.ScaleIntensityRange", "a_min": 0.0, "a_max": 1.0, "b_min": -1.0, "b_max": 1.0}
SHIFT = {"_target_": "monai.transforms.ShiftIntensity", "offset": 0.5}
THRESHOLD = {"_target_": "monai.transforms.ThresholdIntensity", "threshold": 0.5, "cval": 0.25}
EACH = [NORMALIZE, RANGE, SHIFT, THRESHOLD]


@pytest.mark.parametrize(
    ("transform", "expected"),
    [
        (NORMALIZE, [-1.6, 0.4, 2.4]),
        (RANGE, [-1.0, 0.0, 1.0]),
        (SHIFT, [0.5, 1.0, 1.5]),
        (THRESHOLD, [0.25, 0.25, 1.0]),  # 0.5 is not above 0.5
    ],
)
def test_values_from_a_pencil(transform, expected):
    recipe = make_recipe(transforms=[transform])
    values = normalise(torch.tensor([-1000.0, -300.0, 400.0]), recipe)
    assert values.tolist() == pytest.approx(expected)
    assert (type(values), values.dtype) == (torch.Tensor, torch.float32)


@pytest.mark.parametrize("transform", EACH)
def test_a_part_gets_the_values_of_the_whole_and_of_the_bundle(transform):
    whole = torch.rand(9, 8, 7, generator=torch.Generator().manual_seed(0))
    image = apply_transforms(whole, [transform])
    assert torch.equal(apply_transforms(whole[:, :, 3], [transform]), image[:, :, 3])
    assert torch.equal(apply_transforms(whole[2:5, 1:7, 2:4], [transform]), image[2:5, 1:7, 2:4])
    (in_bundle,) = for_bundle(make_recipe(transforms=[transform]).transforms)
    kind = getattr(monai.transforms, in_bundle.pop("_target_"))
    assert torch.equal(kind(**in_bundle)({"image": whole[None]})["image"].as_tensor()[0], image)


def test_training_sees_what_prediction_sees(tmp_path):
    recipe = make_recipe(transforms=[NORMALIZE, SHIFT])
    (case,) = prepare(tmp_path, [make_scan(lesions=[((20, 20, 10), 6)])], recipe)
    sampling = Sampling(lesion_fraction=1.0, shift=0.0)
    with_transforms = PatchDataset([case], recipe, sampling=sampling, augmentation=Augmentation(), seed=0)
    without = PatchDataset([case], make_recipe(), sampling=sampling, augmentation=Augmentation(), seed=0)
    torch.testing.assert_close(with_transforms[3]["image"], (without[3]["image"] - 0.4) / 0.25 + 0.5)
    assert with_transforms[3]["image"].max() > 1


def test_prediction_applies_them_to_what_it_streams():
    class Threshold:
        """An engine that calls whatever the network would see above 1.37 a lesion."""

        def __call__(self, patches_bcxyz):
            return (patches_bcxyz > 1.37).float()

    image, _ = make_scan((40, 36, 24), lesions=[])
    recipe = make_recipe(transforms=[NORMALIZE], patch=(16, 16, 8))
    case = Case("a", image, Grid(image.shape, np.eye(4)))
    prediction = predict_case(case, recipe, Threshold(), PredictOptions(region=None), divisor=(1, 1, 1))
    wanted = (apply_window(torch.from_numpy(image), recipe) - 0.4) / 0.25 > 1.37
    assert 0 < wanted.float().mean() < 1
    assert np.array_equal(prediction.mask > 0, wanted.numpy())


def test_they_are_part_of_the_models_digest_and_not_of_the_prepared_cases():
    bare, with_transforms = make_recipe(), make_recipe(transforms=[NORMALIZE])
    assert with_transforms.digest != bare.digest
    assert with_transforms.digest != make_recipe(transforms=[{**NORMALIZE, "divisor": 0.2}]).digest
    assert with_transforms.preparation_digest == bare.preparation_digest
    assert make_recipe(transforms=[]).digest == bare.digest
    # an argument that is given with its default value is no other transform
    assert make_recipe(transforms=[{**RANGE, "clip": False}]).digest == make_recipe(transforms=[RANGE]).digest
    assert Recipe.from_dict(json.loads(json.dumps(with_transforms.to_dict()))) == with_transforms


@pytest.mark.parametrize(
    ("transform", "expected"),
    [
        (
            {"_target_": "monai.transforms.GaussianSmooth", "sigma": 1.0},
            "must be one of MONAI's transforms that change",
        ),
        ({"_target_": "os.system", "command": "true"}, "put any other into augmentation, or into the network"),
        ({"subtrahend": 0.4}, "must be one of MONAI's transforms"),
        ({**NORMALIZE, "divisor": 0}, "divisor=0: "),
        ({**NORMALIZE, "divisor": "$__import__('os')"}, "divisor=$__import__('os'): input should be a valid number"),
        ({**NORMALIZE, "nonzero": True}, "nonzero: no such key; allowed: subtrahend, divisor"),
        ({"_target_": "monai.transforms.ShiftIntensity"}, "offset: must be given"),
        ({**RANGE, "a_min": 2.0}, "a_min must be below a_max"),
        ("monai.transforms.ShiftIntensity", "input should be a valid dictionary"),
    ],
)
def test_whatever_is_not_on_the_list_is_refused(transform, expected):
    with pytest.raises(ModelError, match=r"recipe\.transforms\.0") as caught:
        Recipe.from_dict({**make_recipe().to_dict(), "transforms": [transform]})
    assert expected in str(caught.value)


def test_they_are_configured_and_wrong_ones_are_reported_with_all_other_mistakes():
    target = "recipe.transforms=[{_target_:monai.transforms.ShiftIntensity,offset:0.5}]"
    settings = settings_of(compose([target], registries), registries())
    assert settings.recipe.transforms == (SHIFT,)
    words = ["recipe.transforms=[{_target_:my.Own}]", "recipe.orientation=RAX"]
    with pytest.raises(ConfigError, match="2 mistakes") as caught:
        compose(words, registries)
    assert "recipe.transforms.0={'_target_': 'my.Own'}: must be one of MONAI's transforms" in str(caught.value)


def test_a_model_folder_carries_them(tmp_path, monkeypatch):
    def write_nothing(file, *_):
        file.write_bytes(b"")
        return Parity(0.0, ())

    monkeypatch.setattr(writing, "_write_onnx", write_nothing)
    recipe = Recipe.from_dict({**SCAN.to_dict(), "transforms": [NORMALIZE]})
    path = write_small(tmp_path / "model", recipe=recipe).path
    assert read_model_folder(path).recipe == recipe
    steps = json.loads((path / "configs/inference.json").read_text())["preprocessing"]["transforms"]
    names = [step["_target_"] for step in steps]
    assert names[names.index("ScaleIntensityRanged") + 1] == "NormalizeIntensityd"
    assert json.loads((path / "segpipe.json").read_text())["recipe"]["transforms"] == [NORMALIZE]
    assert "monai.transforms.NormalizeIntensity(subtrahend=0.4, divisor=0.25)" in (path / "docs/README.md").read_text()
    metadata = json.loads((path / "configs/metadata.json").read_text())
    assert metadata["network_data_format"]["inputs"]["image"]["value_range"] == []
