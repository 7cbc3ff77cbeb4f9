"""Random changes of a patch's values as MONAI transforms: for a preset, or in anybody's `monai.transforms.Compose`."""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from monai.transforms import MapTransform, RandomizableTransform

from segpipe.preprocessing.augmentation import intensity
from segpipe.preprocessing.augmentation.bounds import (
    AnyRange,
    Keys,
    PartRange,
    PositiveRange,
    Probability,
    RangeFromZero,
    checked,
)
from segpipe.preprocessing.augmentation.randomness import generator_of

Change = Callable[[torch.Tensor], torch.Tensor]


class _RandomChange(RandomizableTransform, MapTransform):  # type: ignore[misc]
    """A change of the values of images (C, x, y, z) in 0…1; the same for all keys of a patch.

    Args:
        keys: The images.
        prob: How often the change happens.
    """

    def __init__(self, keys: Keys, prob: float) -> None:
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self, prob)

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the data with its images changed; the images that are handed in stay as they are."""
        changed = dict(data)
        self.randomize(None)
        if not self._do_transform:
            return changed
        change = self.draw(generator_of(self.R))
        for key in self.key_iterator(changed):
            changed[key] = change(torch.as_tensor(changed[key]))
        return changed

    @abstractmethod
    def draw(self, rng: np.random.Generator) -> Change:
        """Draws the strength of the change."""


class RandNoised(_RandomChange):
    """Gaussian noise.

    Args:
        std_range: Standard deviations, in parts of the recipe's window.
    """

    @checked
    def __init__(
        self, keys: Keys = "image", *, prob: Probability = 0.1, std_range: RangeFromZero = (0.0, 0.03)
    ) -> None:
        super().__init__(keys, prob)
        self.std_range = std_range

    def draw(self, rng: np.random.Generator) -> Change:
        """Draws the deviation and a seed."""
        deviation, seed = rng.uniform(*self.std_range), int(rng.integers(2**63))
        return lambda image: intensity.add_noise(image, deviation, seed)


class RandBrightnessd(_RandomChange):
    """A shift of all values.

    Args:
        offset_range: Shifts, in parts of the recipe's window.
    """

    @checked
    def __init__(
        self, keys: Keys = "image", *, prob: Probability = 0.1, offset_range: AnyRange = (-0.05, 0.05)
    ) -> None:
        super().__init__(keys, prob)
        self.offset_range = offset_range

    def draw(self, rng: np.random.Generator) -> Change:
        """Draws the shift."""
        offset = rng.uniform(*self.offset_range)
        return lambda image: intensity.shift(image, offset)


class RandContrastd(_RandomChange):
    """A change of the distance of all values from their mean.

    Args:
        factor_range: Factors.
    """

    @checked
    def __init__(
        self, keys: Keys = "image", *, prob: Probability = 0.1, factor_range: PositiveRange = (0.75, 1.25)
    ) -> None:
        super().__init__(keys, prob)
        self.factor_range = factor_range

    def draw(self, rng: np.random.Generator) -> Change:
        """Draws the factor."""
        factor = rng.uniform(*self.factor_range)
        return lambda image: intensity.adjust_contrast(image, factor)


class RandBlurd(_RandomChange):
    """Gaussian blur.

    Args:
        sigma_range: Standard deviations in voxels.
    """

    @checked
    def __init__(
        self, keys: Keys = "image", *, prob: Probability = 0.1, sigma_range: PositiveRange = (0.5, 1.0)
    ) -> None:
        super().__init__(keys, prob)
        self.sigma_range = sigma_range

    def draw(self, rng: np.random.Generator) -> Change:
        """Draws the deviation."""
        sigma = rng.uniform(*self.sigma_range)
        return lambda image: intensity.blur(image, sigma)


class RandLowResolutiond(_RandomChange):
    """A resampling to coarser voxels and back.

    Args:
        zoom_range: Factors of the voxel count along each axis.
    """

    @checked
    def __init__(self, keys: Keys = "image", *, prob: Probability = 0.1, zoom_range: PartRange = (0.5, 1.0)) -> None:
        super().__init__(keys, prob)
        self.zoom_range = zoom_range

    def draw(self, rng: np.random.Generator) -> Change:
        """Draws the factor."""
        zoom = rng.uniform(*self.zoom_range)
        return lambda image: torch.stack([intensity.lower_resolution(channel, zoom) for channel in image])


class RandGammad(_RandomChange):
    """A gamma curve on values in 0…1; half of them on the inverted image.

    Args:
        gamma_range: Exponents.
    """

    @checked
    def __init__(
        self, keys: Keys = "image", *, prob: Probability = 0.1, gamma_range: PositiveRange = (0.7, 1.5)
    ) -> None:
        super().__init__(keys, prob)
        self.gamma_range = gamma_range

    def draw(self, rng: np.random.Generator) -> Change:
        """Draws the exponent, and whether the image is inverted."""
        gamma, inverted = rng.uniform(*self.gamma_range), rng.random() < 0.5
        return lambda image: intensity.adjust_gamma(image, gamma, inverted=inverted)


class ClipIntensityd(MapTransform):  # type: ignore[misc]
    """Clips values to 0…1, where a later transform needs them there.

    Args:
        keys: The images.
    """

    @checked
    def __init__(self, keys: Keys = "image") -> None:
        super().__init__(keys)

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the data with its images clipped."""
        return {**data, **{key: torch.as_tensor(data[key]).clamp(0.0, 1.0) for key in self.key_iterator(data)}}
