import pytest
import yaml

from segpipe.tracking.parameters import config_text, cut_values, flatten


def test_nested_sections_become_dotted_names_and_lists_stay_one_parameter():
    config = {"network": {"name": "unet", "channels": [32, 64], "dropout": None}, "resume": False, "lr": 3e-4}
    assert flatten(config) == {
        "network.name": "unet",
        "network.channels": "[32, 64]",
        "network.dropout": "null",
        "resume": "false",
        "lr": "0.0003",
    }


def test_lists_of_sections_are_numbered_and_empty_ones_are_kept():
    assert flatten({"stages": [{"width": 8}, {"width": 16}], "flips": [], "extra": {}}) == {
        "stages.0.width": "8",
        "stages.1.width": "16",
        "flips": "[]",
        "extra": "{}",
    }


def test_names_that_mlflow_refuses_are_spelt_with_underscores():
    assert flatten({"a(b)": 1, "c,d": 2}) == {"a_b_": "1", "c_d": "2"}


@pytest.mark.parametrize(("length", "kept"), [(6000, True), (6001, False)])
def test_a_value_beyond_the_limit_says_where_it_is(length, kept):
    text = "x" * length
    assert flatten({"note": text}) == {"note": text if kept else "6001 characters, see config.yaml"}
    assert cut_values({"note": text}) == ([] if kept else ["note"])


def test_the_yaml_reads_back_in_its_own_order():
    config = {"zeta": {"patch": (64, 64, 16)}, "alpha": "ground glass – ⌀ 6 mm"}
    text = config_text(config)
    assert yaml.safe_load(text) == {"zeta": {"patch": [64, 64, 16]}, "alpha": "ground glass – ⌀ 6 mm"}
    assert text.index("zeta") < text.index("alpha")
