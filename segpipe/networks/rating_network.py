"""The network that predicts readers' ratings from a nodule's crop and measurements: ordinal, small and calibrated."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from segpipe.networks.crop_layers import crop_convolutions, pool_crops


class RatingNetwork(nn.Module):
    """Proportional odds: the log odds of a grade above k are the nodule's place on the scale minus threshold k.

    The place adds up a line through the measurements, a small perceptron on them and, with `channels`, convolutions of
    the crop. Without convolutions this is ordinal regression. `calibration` stretches the odds of each rating; it is
    fitted on nodules that the network has not seen.

    Args:
        grades: Of each rating, the number of its grades.
        measurements: How many measurements there are; standardised by `centre` and `scale`.
        channels: Widths of the levels, each half as fine as the one before; none leaves the crop unseen.
        hidden: Width of the perceptron.
        dropout: Of what the perceptron and the convolutions give.

    Source:
        McCullagh, Journal of the Royal Statistical Society B 42 (1980) 109–142. Calibration: Guo et al., ICML 2017,
        arXiv 1706.04599 (temperature).
    """

    centre: torch.Tensor
    scale: torch.Tensor
    calibration: torch.Tensor

    def __init__(
        self, grades: Sequence[int], measurements: int, *, channels: Sequence[int], hidden: int, dropout: float
    ) -> None:
        super().__init__()
        self.grades = tuple(grades)
        self.register_buffer("centre", torch.zeros(measurements))
        self.register_buffer("scale", torch.ones(measurements))
        self.register_buffer("calibration", torch.ones(len(grades)))
        self.line = nn.Linear(measurements, len(grades), bias=False)
        self.perceptron = nn.Sequential(
            nn.Linear(measurements, hidden), nn.Tanh(), nn.Dropout(dropout), nn.Linear(hidden, len(grades))
        )
        self.convolutions = crop_convolutions(channels) if channels else None
        self.shape = nn.Sequential(nn.Dropout(dropout), nn.Linear(2 * channels[-1], len(grades))) if channels else None
        self.first = nn.Parameter(torch.zeros(len(grades)))
        self.steps = nn.Parameter(torch.zeros(len(grades), max(grades) - 2))

    def forward(self, crops_b2xyz: torch.Tensor, measurements_bm: torch.Tensor) -> torch.Tensor:
        """The probability of each grade, (B, ratings, most grades); a rating with fewer has zeros at the end.

        Args:
            crops_b2xyz: Scan and mask around each nodule.
            measurements_bm: As measured, in the units of `segpipe.inference.ratings.inputs`.
        """
        place = self._place(crops_b2xyz, measurements_bm)
        above = torch.sigmoid((place.unsqueeze(2) - self._thresholds()) * self.calibration.unsqueeze(1))
        columns = [self._of_grades(above[:, rating, : count - 1]) for rating, count in enumerate(self.grades)]
        return torch.stack(columns, dim=1)

    def _place(self, crops_b2xyz: torch.Tensor, measurements_bm: torch.Tensor) -> torch.Tensor:
        measured = ((measurements_bm - self.centre) / self.scale).clamp(-4, 4)
        place: torch.Tensor = self.line(measured) + self.perceptron(measured)
        if self.convolutions is None or self.shape is None:
            return place
        shape: torch.Tensor = self.shape(pool_crops(self.convolutions(crops_b2xyz)))
        return place + shape

    def _thresholds(self) -> torch.Tensor:
        """Ascending, (ratings, most grades − 1)."""
        first = self.first.unsqueeze(1)
        return torch.cat([first, first + functional.softplus(self.steps).cumsum(dim=1)], dim=1)

    def _of_grades(self, above_bk: torch.Tensor) -> torch.Tensor:
        ones, zeros = torch.ones_like(above_bk[:, :1]), torch.zeros_like(above_bk[:, :1])
        at_least = torch.cat([ones, above_bk, zeros], dim=1)
        own = at_least[:, :-1] - at_least[:, 1:]
        return functional.pad(own, (0, max(self.grades) - own.shape[1]))
