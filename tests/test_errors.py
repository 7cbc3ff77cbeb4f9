"""What a user reads when something is wrong."""

import pytest

from segpipe.errors import (
    ConfigError,
    GeometryError,
    ImageError,
    SegpipeError,
    explain,
    raise_together,
)


def test_the_whole_message():
    error = GeometryError(
        "image and mask are not on the same grid",
        facts={"case": "LUNG_042", "image": "512×512×130"},
        hint="export the mask again",
    )
    assert explain(error) == (
        "GeometryError: image and mask are not on the same grid\n"
        "  case   LUNG_042\n"
        "  image  512×512×130\n"
        "  try    export the mask again"
    )


def test_without_facts_the_message_is_one_line():
    assert explain(ImageError("the image is constant")) == "ImageError: the image is constant"


def test_further_facts_go_in_front_and_the_kind_stays():
    error = ImageError("bad", facts={"file": "a.nii"}, hint="look").with_facts(case="c1")
    assert type(error) is ImageError
    assert list(error.facts) == ["case", "file"]
    assert error.hint == "look"


def test_what_was_found_nearest_to_the_cause_is_kept():
    assert ImageError("bad", facts={"file": "inner"}).with_facts(file="outer").facts == {"file": "inner"}


def test_facts_of_the_caller_are_not_shared():
    facts = {"file": "a.nii"}
    error = ImageError("bad", facts=facts)
    facts["file"] = "b.nii"
    assert error.facts == {"file": "a.nii"}


def test_the_exit_code_is_that_of_a_mistake():
    assert SegpipeError("any").exit_code == 2


def test_nothing_wrong_raises_nothing():
    assert raise_together([], headline="unused") is None


def test_one_mistake_is_itself():
    error = ConfigError("one")
    with pytest.raises(ConfigError) as caught:
        raise_together([error], headline="unused")
    assert caught.value is error


def test_several_mistakes_are_reported_together_in_order():
    errors = [ConfigError("first", facts={"key": "a"}), ImageError("second")]
    with pytest.raises(ConfigError) as caught:
        raise_together(errors, headline="the configuration cannot be used")
    assert str(caught.value) == (
        "the configuration cannot be used (2 mistakes)\n  ConfigError: first\n    key  a\n  ImageError: second"
    )
