import pytest

from segpipe.errors import ConfigError
from segpipe.networks.settings import as_triple, check_levels, product_of_strides


def test_a_stride_is_one_number_or_three() -> None:
    assert as_triple(3) == (3, 3, 3)
    assert as_triple([2, 2, 1]) == (2, 2, 1)


def test_strides_multiply_along_each_axis() -> None:
    assert product_of_strides([2, [2, 2, 1], (1, 2, 3)]) == (4, 8, 6)
    assert product_of_strides([]) == (1, 1, 1)


def test_lists_of_other_lengths_are_shown() -> None:
    with pytest.raises(ConfigError, match="2 channels need 1 strides") as caught:
        check_levels([4, 8], [2, 2], strides_per_channels=-1)
    assert caught.value.facts == {"network.channels": [4, 8], "network.strides": [2, 2]}
