"""Aligns two coarse scans of one patient rigidly, by SimpleITK."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from segpipe.case import Case, Volume
from segpipe.errors import ImageError
from segpipe.geometry import FloatArray, flip_ras_lps, to_world
from segpipe.preprocessing.lungs import lung_mask

WINDOW_HU = (-1000, 400)
LEAST_CORRELATION = 0.6
SEED = 20


@dataclass(frozen=True, eq=False)
class Alignment:
    """How two scans lie to each other.

    Args:
        matrix: 4×4, positions (RAS+ mm) of the first → of the second.
        correlation: Of the voxels of both where they overlap, −1…1.
    """

    matrix: FloatArray
    correlation: float


def align(first: Volume, second: Volume) -> Alignment:
    """Finds the rotation and shift that bring the first scan onto the second.

    Raises:
        ImageError: when the aligned scans do not look alike.
    """
    import SimpleITK as sitk  # noqa: N813

    fixed, moving = _image(first), _image(second)
    start = sitk.Euler3DTransform()
    start.SetCenter(flip_ras_lps(_middle(first)).tolist())
    start.SetTranslation(flip_ras_lps(_middle(second) - _middle(first)).tolist())
    transform = _method(start).Execute(fixed, moving)
    resampled = sitk.GetArrayFromImage(sitk.Resample(moving, fixed, transform, sitk.sitkLinear, np.nan))
    correlation = _correlation(sitk.GetArrayFromImage(fixed), resampled)
    if not correlation >= LEAST_CORRELATION:
        raise ImageError(
            "the two scans cannot be aligned",
            facts={"correlation": f"{correlation:.2f}", "needed": f"{LEAST_CORRELATION:.2f}"},
            hint="are they chest CTs of the same patient?",
        )
    return Alignment(_matrix(transform), correlation)


def _method(start: Any) -> Any:
    """Mutual information, since contrast agent and kernel may differ; coarse first, then fine."""
    import SimpleITK as sitk  # noqa: N813

    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(numberOfHistogramBins=32)
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(0.3, SEED)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=2.0, minStep=0.005, numberOfIterations=200, relaxationFactor=0.6
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([3, 2, 1])
    method.SetSmoothingSigmasPerLevel([2, 1, 0])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOff()
    method.SetInitialTransform(start, inPlace=False)
    return method


def _middle(volume: Volume) -> FloatArray:
    """The middle of the lungs, RAS+ mm, or of the scan where there are none: scans may begin and end elsewhere."""
    lungs = lung_mask(Case("thumbnail", volume.array, volume.grid))
    if lungs is None:
        return to_world(volume.grid.affine, [(count - 1) / 2 for count in volume.grid.shape])
    return to_world(lungs.grid.affine, np.argwhere(lungs.array).mean(axis=0))


def _image(volume: Volume) -> Any:
    import SimpleITK as sitk  # noqa: N813

    lps = flip_ras_lps(volume.grid.affine)
    spacing = np.array(volume.grid.spacing_mm)
    image = sitk.GetImageFromArray(np.clip(volume.array, *WINDOW_HU).astype(np.float32).T)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    return image


def _matrix(transform: Any) -> FloatArray:
    """4×4 in RAS+ of a transform that maps positions of the fixed image (LPS+) to the moving one's."""
    corners = np.concatenate([np.zeros((1, 3)), np.eye(3)])
    moved = flip_ras_lps([transform.TransformPoint(flip_ras_lps(corner).tolist()) for corner in corners])
    matrix = np.eye(4)
    matrix[:3, :3] = (moved[1:] - moved[0]).T
    matrix[:3, 3] = moved[0]
    return matrix


def _correlation(one: FloatArray, other: FloatArray) -> float:
    seen = np.isfinite(other)
    if seen.mean() < 0.1:
        return 0.0
    return float(np.corrcoef(one[seen], other[seen])[0, 1])
