"""The settings that several networks share: strides, norms and activations."""

from collections.abc import Sequence
from typing import Annotated, Literal

from annotated_types import Ge, Interval, MinLen

from segpipe.errors import ConfigError

Shape = tuple[int, int, int]
Width = Annotated[int, Ge(1)]
Widths = Annotated[list[Width], MinLen(2)]
Stride = Annotated[int, Interval(ge=1, le=4)]
Strides = Annotated[list[Stride | tuple[Stride, Stride, Stride]], MinLen(1)]
Dropout = Annotated[float, Interval(ge=0.0, lt=1.0)]
NormName = Literal["instance", "group", "batch"]
ActName = Literal["leakyrelu", "prelu", "relu", "elu", "gelu", "swish"]

NORMS: dict[str, tuple[str, dict[str, object]]] = {
    "instance": ("instance", {"affine": True}),
    "group": ("group", {"num_groups": 8}),
    "batch": ("batch", {}),
}


def as_triple(stride: int | Sequence[int]) -> Shape:
    """A stride along x, y and z, from one number for all three or from three.

    >>> as_triple(2), as_triple([2, 2, 1])
    ((2, 2, 2), (2, 2, 1))
    """
    x, y, z = (stride, stride, stride) if isinstance(stride, int) else stride
    return int(x), int(y), int(z)


def product_of_strides(strides: Sequence[int | Sequence[int]]) -> Shape:
    """How much smaller the deepest level is, along each axis.

    >>> product_of_strides([[2, 2, 1], 2, 2])
    (8, 8, 4)
    """
    x, y, z = 1, 1, 1
    for stride in strides:
        a, b, c = as_triple(stride)
        x, y, z = x * a, y * b, z * c
    return x, y, z


def check_levels(channels: Sequence[int], strides: Sequence[object], *, strides_per_channels: int) -> None:
    """Refuses lists whose lengths do not belong together.

    Args:
        channels: Widths of the levels.
        strides: Strides of the levels.
        strides_per_channels: How many more strides than channels there must be: 0, or -1 when the first level has none.

    Raises:
        ConfigError: with both lists.
    """
    wanted = len(channels) + strides_per_channels
    if len(strides) != wanted:
        raise ConfigError(
            f"{len(channels)} channels need {wanted} strides",
            facts={"network.channels": list(channels), "network.strides": list(strides)},
        )
