"""What a user reads when something is wrong."""

import pytest

from segpipe.errors import (
    ConfigError,
    GeometryError,
    ImageError,
    OutputError,
    SegpipeError,
    explain,
    merge_alike,
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


def full(case, found="disk full"):
    return OutputError(
        "cannot be written", facts={"case": case, "file": f"{case}.nii", "found": found}, hint="make room"
    )


def test_one_cause_is_one_message_that_names_all_cases():
    (error,) = merge_alike([full("a"), full("b"), full("c")])
    assert explain(error).splitlines() == [
        "OutputError: cannot be written", "  cases  3: a, b, c", "  found  disk full", "  try    make room"
    ]  # fmt: skip


def test_of_many_cases_the_first_are_named_and_the_others_counted():
    (error,) = merge_alike([full(f"c{number}") for number in range(22)])
    assert error.facts["cases"] == "22: " + ", ".join(f"c{number}" for number in range(20)) + ", and 2 more"


def test_different_causes_stay_apart_and_in_order():
    alone, other = full("b", "read-only"), ImageError("cannot be written", facts={"case": "d", "found": "disk full"})
    first, *rest = merge_alike([full("a"), alone, full("c"), other])
    assert first.facts["cases"] == "2: a, c"
    assert rest == [alone, other]


def test_errors_of_no_case_are_not_merged():
    errors = [ConfigError("same"), ConfigError("same")]
    assert merge_alike(errors) == errors


def test_alike_mistakes_are_counted_each_and_said_once():
    with pytest.raises(OutputError) as caught:
        raise_together([full("a"), full("b")], headline="some cases failed")
    assert str(caught.value).splitlines()[:3] == [
        "some cases failed (2 mistakes)", "  OutputError: cannot be written", "    cases  2: a, b"
    ]  # fmt: skip
