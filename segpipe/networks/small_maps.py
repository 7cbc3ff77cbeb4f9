"""Keeps convolutions over very small maps out of bfloat16, whose CPU kernels compute their gradients wrongly there.

Where the map is shorter than the kernel along an axis, or holds one window of a strided kernel only, oneDNN (v3.12)
reads past the map: weight gradients hold whatever the memory held before, and some calls write there, too.
`docs/reproducibility.md` has the shapes and a command that shows them.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

Axis = tuple[int, int, int]  # voxels of the map, voxels that the kernel spans, stride


def small_maps_in_float32(device: torch.device) -> AbstractContextManager[Any]:
    """What a forward pass on `device` is computed under: on a CPU `SmallMapsInFloat32`, else nothing."""
    return SmallMapsInFloat32() if device.type == "cpu" else nullcontext()


class SmallMapsInFloat32(TorchFunctionMode):
    """While entered, convolutions under CPU autocast run in float32 where their map is small; all others are untouched.

    It sees the call and not the layer, so that it covers every network, whoever wrote it, and changes none.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Calls `func`, in float32 where it must be."""
        kwargs = kwargs or {}
        axes_of = _CONVOLUTIONS.get(func)
        if axes_of is None or not torch.is_autocast_enabled("cpu") or not _has_small_map(axes_of(*args, **kwargs)):
            return func(*args, **kwargs)
        with torch.autocast("cpu", enabled=False):
            return func(*map(_to_float32, args), **{name: _to_float32(value) for name, value in kwargs.items()})


def _has_small_map(axes: Iterable[Axis]) -> bool:
    return any(size < (span + stride if stride > 1 else span) for size, span, stride in axes)


def _axes(
    input: torch.Tensor, weight: torch.Tensor, bias: Any = None, stride: Any = 1, padding: Any = 0,
    dilation: Any = 1, groups: int = 1,
) -> Iterable[Axis]:  # fmt: skip
    """The axes of a convolution; its parameters are torch's."""
    dims = weight.ndim - 2
    spans = _spans(weight, dilation)
    return zip(input.shape[-dims:], spans, _each(stride, dims), strict=True)


def _axes_transposed(
    input: torch.Tensor, weight: torch.Tensor, bias: Any = None, stride: Any = 1, padding: Any = 0,
    output_padding: Any = 0, groups: int = 1, dilation: Any = 1,
) -> Iterable[Axis]:  # fmt: skip
    """The axes of a transposed convolution, which is the gradient of one whose map is the output."""
    dims = weight.ndim - 2
    spans, strides = _spans(weight, dilation), _each(stride, dims)
    settings = zip(input.shape[-dims:], spans, strides, _each(padding, dims), _each(output_padding, dims), strict=True)
    sizes = [(size - 1) * step + span - 2 * pad + extra for size, span, step, pad, extra in settings]
    return zip(sizes, spans, strides, strict=True)


def _spans(weight: torch.Tensor, dilation: Any) -> list[int]:
    kernel = weight.shape[2:]
    return [step * (size - 1) + 1 for size, step in zip(kernel, _each(dilation, len(kernel)), strict=True)]


def _each(value: Any, dims: int) -> list[int]:
    """One number for each axis, as torch reads it: one for all, or a sequence of one or of all."""
    values = [value] if isinstance(value, int) else list(value)
    return values * dims if len(values) == 1 else values


def _to_float32(value: Any) -> Any:
    return value.float() if isinstance(value, torch.Tensor) else value


_CONVOLUTIONS: dict[Any, Callable[..., Iterable[Axis]]] = {
    **dict.fromkeys((torch.conv1d, torch.conv2d, torch.conv3d), _axes),
    **dict.fromkeys((torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d), _axes_transposed),
}
