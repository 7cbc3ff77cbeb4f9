"""Where a lesion is, on the command line."""

import pytest

from segpipe.cli.predict.flags import parse_flags
from segpipe.errors import ConfigError
from segpipe.inference.prompts.prompt import Prompt

REQUIRED = ["--model", "m", "--input", "i", "--output", "o"]


@pytest.mark.parametrize(
    ("words", "prompt"),
    [
        ("--at -56.2,86,-115", Prompt(((-56.2, 86.0, -115.0),))),
        ("--at +56.2,86,-115", Prompt(((56.2, 86.0, -115.0),))),
        ("--at 1,2,3 4,5,6", Prompt(((1.0, 2.0, 3.0), (4.0, 5.0, 6.0)))),
        ("--at +:-1,2,3 -:-4,5,6 -:7,8,9", Prompt(((-1.0, 2.0, 3.0),), ((-4.0, 5.0, 6.0), (7.0, 8.0, 9.0)))),
        ("--at=+:-1,2,3 -:-4,5,6 --flips xy", Prompt(((-1.0, 2.0, 3.0),), ((-4.0, 5.0, 6.0),))),
        ("--box -1,-2,-3,4,5,6", Prompt(box=((-1.0, -2.0, -3.0), (4.0, 5.0, 6.0)))),
        ("--box -1,-2,-3 -4,5,6 --at -:9,9,9", Prompt((), ((9.0, 9.0, 9.0),), ((-1.0, -2.0, -3.0), (-4.0, 5.0, 6.0)))),
        ("--line -1,-2,-3,4,5,-3", Prompt(line=((-1.0, -2.0, -3.0), (4.0, 5.0, -3.0)))),
        ("--flips xy", None),
    ],
)
def test_a_prompt_is_read(words, prompt):
    assert parse_flags([*REQUIRED, *words.split()]).prompt == prompt


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--at 1,2,3 4,5", "a point is three numbers x,y,z in mm, not '4,5'"),
        ("--at -:1,2", "a point is three numbers x,y,z in mm, not '-:1,2'"),
        ("--box 1,2,3,4,5", "two points are six numbers x,y,z,x,y,z in mm, not '1,2,3,4,5'"),
        ("--line 1,2,3", "two points are six numbers"),
        ("--at 1,2,3 -4,5,6", r"a sign may be that of the point[^$]*found +-4,5,6\n[^$]*\+:-4,5,6 lies in the lesion"),
        ("--at +1,2,3 -:4,5,6", r"a sign may be that of the point[^$]*found +\+1,2,3"),
        ("--at -4,5,6 --box 1,2,3,4,5,6", "a sign may be that of the point"),
        ("--at -:4,5,6", "negative points alone do not say where the lesion is"),
        ("--box 1,2,3,4,5,3", "must differ in x, y and z"),
    ],
)
def test_what_is_no_prompt_is_reported(words, message):
    with pytest.raises(ConfigError, match=message):
        parse_flags([*REQUIRED, *words.split()])
