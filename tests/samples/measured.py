"""A finding with all its measurements, made up, for tests of what is written of findings."""

from dataclasses import dataclass, field

from segpipe.inference.measurements.rating import PredictedRating
from segpipe.inference.measurements.reliability import Reliability


@dataclass
class Measured:
    number: int
    label: str = "nodule"
    volume_mm3: float = 512.343
    axial_diameter_mm: float = 9.5
    perpendicular_diameter_mm: float = 7.25
    mean_diameter_mm: float = 8.375
    equivalent_diameter_mm: float = 9.926
    mean_hu: float = -33.04
    p5_hu: float = -412.0
    median_hu: float = 12.0
    p95_hu: float = 88.5
    solid_fraction: float = 0.8125
    solid_mean_diameter_mm: float | None = 7.5
    nodule_type: str = "solid"
    mean_probability: float = 0.876
    side: str | None = "left"
    zone: str = "upper"
    slice_note: str | None = None
    cut_by: str | None = None
    ratings: dict[str, PredictedRating] = field(default_factory=dict)
    reliability: Reliability | None = None
