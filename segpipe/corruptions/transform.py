"""Corruptions as a MONAI transform of training patches."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.transforms import MapTransform, RandomizableTransform

from segpipe.corruptions.graded import SEVERITIES
from segpipe.corruptions.planes import Planes
from segpipe.corruptions.suite import CORRUPTIONS
from segpipe.errors import ConfigError
from segpipe.preprocessing.augmentation.randomness import generator_of


class RandCorruptiond(RandomizableTransform, MapTransform):  # type: ignore[misc]
    """One corruption of some, drawn for each patch, of a severity that is drawn as well.

    Args:
        keys: The images, (1, x, y, z) in 0…1.
        kinds: Names of corruptions that leave lesions in their place.
        prob: How often one happens.
        severities: The lowest and the highest one.
        spacing_mm: Of the patch's voxels, of which z runs along the body.
        window_hu: The HU that are 0 and 1.

    Raises:
        ConfigError: for a name that is unknown or moves lesions, or for no severity.
    """

    def __init__(
        self,
        keys: str | Sequence[str] = "image",
        *,
        kinds: Sequence[str],
        spacing_mm: Sequence[float],
        window_hu: Sequence[float],
        prob: float = 0.1,
        severities: Sequence[int] = (1, 3),
    ) -> None:
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self, prob)
        allowed = [name for name, one in CORRUPTIONS.items() if not one.moves]
        unknown = [name for name in kinds if name not in allowed]
        if unknown or not kinds:
            raise ConfigError("an augmentation must be of these corruptions",
                              facts={"found": ", ".join(unknown) or "none", "known": ", ".join(allowed)})  # fmt: skip
        low, high = severities
        if not SEVERITIES[0] <= low <= high <= SEVERITIES[-1]:
            raise ConfigError("severities must go from 1 at least to 5 at most", facts={"found": list(severities)})
        self.kinds, self.severities = tuple(kinds), (low, high)
        (x, y, z), self.window_hu = spacing_mm, tuple(window_hu)
        self.spacing_mm = (x, y, z)

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the data with its images changed; the images that are handed in stay as they are."""
        changed = dict(data)
        self.randomize(None)
        if not self._do_transform:
            return changed
        rng = generator_of(self.R)
        kind = CORRUPTIONS[self.kinds[rng.integers(len(self.kinds))]]
        level = kind.levels[rng.integers(self.severities[0] - 1, self.severities[1])]
        seed = int(rng.integers(2**63))
        for key in self.key_iterator(changed):
            changed[key] = torch.stack([
                self._corrupted(channel, lambda planes: kind.change(planes, level, np.random.default_rng(seed)))
                for channel in torch.as_tensor(changed[key])
            ])  # fmt: skip
        return changed

    def _corrupted(self, channel: torch.Tensor, change: Any) -> torch.Tensor:
        low, high = self.window_hu
        planes = Planes(channel.numpy() * np.float32(high - low) + np.float32(low), self.spacing_mm)
        image = (change(planes).image_hu - low) / (high - low)
        return torch.from_numpy(np.ascontiguousarray(image, dtype=np.float32)).to(channel.dtype)
