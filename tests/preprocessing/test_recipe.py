"""What a recipe must hold is said once, and holds for the configuration, a model folder and Python code alike."""

from dataclasses import replace

import pytest
from pydantic import ValidationError

from segpipe.cli.train import registries
from segpipe.config.check import settings_of
from segpipe.config.compose import compose
from segpipe.config.schema import check_settings
from segpipe.errors import ConfigError, ModelError
from segpipe.preprocessing.recipe import Recipe
from segpipe.training.fitting import recipe_of
from tests.samples.prepared_cases import make_recipe

WRONG = [
    ("name", "", "recipe.name=: string should have at least 1 character"),
    ("spacing_mm", [0.0, 1.0, 1.0], "recipe.spacing_mm.0=0.0: input should be greater than or equal to 0.05"),
    ("spacing_mm", [1.0, 1.0, 200.0], "recipe.spacing_mm.2=200.0: input should be less than or equal to 20"),
    ("spacing_mm", [1.0, 1.0], "recipe.spacing_mm.2: must be given"),
    ("window_hu", [400, -1000], "recipe.window_hu=[400, -1000]: must go from the HU that become 0 up to the HU that"),
    ("window_hu", [0, 0], "recipe.window_hu=[0, 0]: must go from the HU"),
    ("window_hu", [-40000, 0], "recipe.window_hu.0=-40000: input should be greater than or equal to -32768"),
    ("orientation", "RAX", "recipe.orientation=RAX: must name one direction of each of R/L, A/P and S/I, e.g. RAS"),
    ("orientation", "RLS", "recipe.orientation=RLS: must name one direction"),
    ("orientation", "RA", "recipe.orientation=RA: must name one direction"),
    ("patch", [64, 64, 0], "recipe.patch.2=0: input should be greater than or equal to 1"),
    ("patch", [64, 64, 4096], "recipe.patch.2=4096: input should be less than or equal to 1024"),
    ("patch", [64, 64, 0.5], "recipe.patch.2=0.5: input should be a valid integer"),
    ("scope", "slice", "recipe.scope=slice: input should be 'scan' or 'voi'"),
    ("label", "", "recipe.label=: string should have at least 1 character"),
    ("lung_crop", "maybe", "recipe.lung_crop=maybe: input should be a valid boolean"),
]


def test_the_narrowest_window_is_one_unit_wide():
    assert make_recipe(window_hu=(0.0, 1.0)).window_hu == (0.0, 1.0)
    with pytest.raises(ValidationError, match="must go from the HU"):
        make_recipe(window_hu=(0.0, 0.5))


def word(value) -> str:
    return str(value).replace(" ", "") if value != "" else "''"


@pytest.mark.parametrize(("key", "value", "expected"), WRONG)
def test_a_value_out_of_bounds_is_refused_everywhere(key, value, expected):
    with pytest.raises(ConfigError) as configured:
        compose([f"recipe.{key}={word(value)}"], registries)
    assert expected in str(configured.value)
    with pytest.raises(ModelError, match="the recipe is not valid") as folder:
        Recipe.from_dict({**make_recipe().to_dict(), key: value})
    assert expected in str(folder.value)
    with pytest.raises(ValidationError):
        make_recipe(**{key: value})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("key", ["spacing_mm", "window_hu"])
def test_numbers_must_be_finite(key, value):
    with pytest.raises(ModelError, match=f"recipe.{key}.1={value}: input should be a finite number"):
        Recipe.from_dict({**make_recipe().to_dict(), key: [0.5, value, 1.0][: 2 + (key == "spacing_mm")]})


def test_all_mistakes_are_reported_together_with_those_of_other_sections():
    words = ["recipe.window_hu=[400,-1000]", "recipe.orientation=RAX", "+recipe.windw=3", "sampling.shift=2"]
    with pytest.raises(ConfigError, match="4 mistakes") as caught:
        compose([*words], registries)
    assert "recipe.windw: no such key; allowed: name, spacing_mm," in str(caught.value)
    assert "sampling.shift=2: input should be less than or equal to 0.5" in str(caught.value)


@pytest.mark.parametrize("section", ["recipe", "sampling", "augmentation"])
def test_a_section_must_have_keys(section):
    assert f"{section}=3: must be a section with keys" in check_settings({section: 3}, registries())[1]


def test_missing_and_unknown_keys_of_a_model_folder_are_named():
    numbers = make_recipe().to_dict()
    del numbers["patch"]
    with pytest.raises(ModelError) as caught:
        Recipe.from_dict({**numbers, "spacing": 1})
    assert "recipe.patch: must be given" in str(caught.value)
    assert "recipe.spacing: no such key" in str(caught.value)
    assert "its recipe was changed by hand" in str(caught.value)


def test_a_recipe_survives_plain_data():
    recipe = make_recipe(scope="voi", lung_crop=True, orientation="LPS")
    assert Recipe.from_dict(recipe.to_dict()) == recipe
    settings = settings_of(compose(["recipe=ct_tumour"], registries), registries())
    assert recipe_of(settings) == Recipe("ct_tumour", (1.0, 1.0, 2.0), (-1000.0, 400.0), (128, 128, 64), label="tumour")


def test_the_digest_of_a_model_is_of_all_but_the_name_and_that_of_a_prepared_case_of_what_it_holds():
    recipe = make_recipe()
    changes = {
        "patch": (32, 32, 16), "scope": "voi", "label": "tumour",
        "spacing_mm": (1.0, 1.0, 2.0), "window_hu": (-900.0, 400.0), "orientation": "LPS", "lung_crop": True,
    }  # fmt: skip
    others = {key: replace(recipe, **{key: value}) for key, value in changes.items()}
    assert all(other.digest != recipe.digest for other in others.values())
    shared = {key for key, other in others.items() if other.preparation_digest == recipe.preparation_digest}
    assert shared == {"patch", "scope", "label"}
    assert replace(recipe, name="other").digest == recipe.digest
    # as in the model folders that former versions wrote
    assert Recipe("any", (1.0, 1.0, 1.5), (-1000.0, 400.0), (32, 32, 16)).digest == "c7f757b0f3d6fff2"
