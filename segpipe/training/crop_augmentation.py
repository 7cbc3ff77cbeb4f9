"""What crops around lesions go through before a network that rates them learns from them."""

import torch

_SHIFT = 2
"""Voxels by which a crop is moved at most: masks of a network have another centre than a reader's."""
_NOISE = 0.04
"""Of a whole crop's level, in units of half a window: scanners and kernels differ."""


def augment(crops_b2xyz: torch.Tensor) -> torch.Tensor:
    """Mirrors, turns and shifts a batch and changes its level of grey, by torch's global generator."""
    mirrored = [axis for axis in (2, 3, 4) if torch.rand(()) < 0.5]
    crops = crops_b2xyz.flip(mirrored)
    if torch.rand(()) < 0.5:
        crops = crops.transpose(2, 3)  # in the axial plane
    shifts = torch.randint(-_SHIFT, _SHIFT + 1, (3,)).tolist()
    crops = crops.roll(shifts, dims=(2, 3, 4))
    grey = _NOISE * torch.randn(len(crops), 1, 1, 1, 1)
    return torch.cat([(crops[:, :1] + grey).clamp(-1, 1), crops[:, 1:]], dim=1)
