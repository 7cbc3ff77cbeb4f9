"""Every scan is in exactly one shard, whoever lists them in what order."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segpipe.errors import ConfigError
from segpipe.system.shards.shard import Shard, digest_listing

SLURM = {"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_MIN": "1", "SLURM_ARRAY_TASK_MAX": "16"}
SLURM["SLURM_ARRAY_TASK_COUNT"] = "16"


@settings(max_examples=40)
@given(st.lists(st.text(max_size=6), unique=True, max_size=20), st.integers(1, 9), st.randoms())
def test_every_name_is_in_one_shard_whatever_the_order(names, count, random):
    shuffled = random.sample(names, len(names))
    shares = []
    for number in range(1, count + 1):
        positions = Shard(number, count).share(names)
        shares.append({names[position] for position in positions})
        assert positions == sorted(positions)
        assert shares[-1] == {shuffled[position] for position in Shard(number, count).share(shuffled)}
    assert sorted(name for share in shares for name in share) == sorted(names)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_names_in_a_rhythm_are_mixed():
    names = [f"patient_{number // 2:03d}_{'long' if number % 2 else 'short'}" for number in range(200)]
    long = sum(names[position].endswith("long") for position in Shard(1, 2).share(names))
    assert 35 <= long <= 65


@pytest.mark.parametrize(
    ("text", "environment", "expected"),
    [
        ("3/16", {}, Shard(3, 16)),
        ("auto", SLURM, Shard(3, 16)),
        ("auto", {**SLURM, "SLURM_ARRAY_TASK_MIN": "0", "SLURM_ARRAY_TASK_MAX": "15"}, Shard(4, 16)),
        ("auto/20", SLURM, Shard(3, 20)),
        ("auto/16", {"JOB_COMPLETION_INDEX": "0"}, Shard(1, 16)),
        ("auto/16", {"JOB_COMPLETION_INDEX": "15"}, Shard(16, 16)),
    ],
)
def test_a_shard_is_read(text, environment, expected):
    assert Shard.parse(text, environment) == expected


@pytest.mark.parametrize(
    ("text", "environment", "message"),
    [
        ("3", {}, "NUMBER/COUNT"),
        ("3/x", {}, "NUMBER/COUNT"),
        ("17/16", {}, "between 1 and the count"),
        ("0/16", {}, "between 1 and the count"),
        ("auto/16", {"JOB_COMPLETION_INDEX": "16"}, "between 1 and the count"),
        ("auto", {}, "needs the task of an array"),
        ("auto", {"JOB_COMPLETION_INDEX": "3"}, "without gaps"),
        ("auto", {**SLURM, "SLURM_ARRAY_TASK_COUNT": "2"}, "without gaps"),
    ],
)
def test_what_is_no_shard_is_refused(text, environment, message):
    with pytest.raises(ConfigError, match=message):
        Shard.parse(text, environment)


def test_a_listing_knows_number_names_and_order():
    digests = {digest_listing(names) for names in (["a", "b"], ["b", "a"], ["ab"], ["a", "b", "c"])}
    assert len(digests) == 4
    assert digest_listing(["a", "b"]).startswith("2 ")
