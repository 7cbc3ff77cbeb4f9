"""Swin UNETR's masks of shifted windows in a few operations, where MONAI fills 27 slices of a volume one by one.

An export follows each of them for each of the four stages, which is about a third of its time.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from monai.networks.nets import swin_unetr

APART = -100.0
"""What is added to the attention between voxels that only the shift has brought into one window."""


@contextmanager
def quick_window_masks() -> Iterator[None]:
    """Until its end MONAI's Swin UNETR makes its masks by `window_mask`."""
    before = swin_unetr.compute_mask
    swin_unetr.compute_mask = window_mask
    try:
        yield
    finally:
        swin_unetr.compute_mask = before


def window_mask(
    dims: Sequence[int], window_size: Sequence[int], shift_size: Sequence[int], device: torch.device | str
) -> torch.Tensor:
    """For each window (W) and each pair of its N voxels 0, or −100 where they are no neighbours: (W, N, N).

    Args:
        dims: Voxels of the padded map along each axis, multiples of the window's.
        window_size: Voxels of a window along each axis.
        shift_size: By how many voxels the windows are shifted along each axis; 0 for an axis without a shift.
        device: Where the mask is wanted.

    Source: Liu et al., Swin Transformer, ICCV 2021, arXiv 2103.14030.
    """
    part = torch.zeros(1, *(1 for _ in dims), 1, device=device)
    for axis, (size, window, shift) in enumerate(zip(dims, window_size, shift_size, strict=True)):
        place = torch.arange(size, device=device)
        along = (place >= size - window).float() + (place >= size - shift).float() if shift else torch.zeros_like(place)
        part = 3 * part + along.reshape([-1 if own == axis + 1 else 1 for own in range(len(dims) + 2)])
    windows: torch.Tensor = swin_unetr.window_partition(part, window_size).squeeze(-1)
    return APART * (windows.unsqueeze(1) != windows.unsqueeze(2)).float()
