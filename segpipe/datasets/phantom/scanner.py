"""The scanner: voxel size, blur, noise and texture of a chest CT, and how its axes lie in the patient's space."""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from segpipe.datasets.phantom.canvas import AIR_HU, Axes
from segpipe.datasets.phantom.thorax import Thorax
from segpipe.geometry import FloatArray, Grid

Voxel = TypeVar("Voxel", np.int16, np.uint8)
FIELD_MM = (304.0, 232.0, 180.0)
ORIENTATIONS = ("LPS", "LPS", "RAS", "LAS", "RPS", "LPI", "SAR")
_LETTERS = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}


@dataclass(frozen=True)
class Protocol:
    """How one scan is made.

    Args:
        step_mm: Voxel size across, front to back and between slices.
        noise_hu: Standard deviation in the middle of the body.
        sharpness: Of the kernel: the spatial frequency in 1/mm at which noise and detail fade.
        orientation: Anatomical directions of the stored array's axes.
        turns: Rotation of the scan's axes against the patient's around x, y, z, in degrees.
        offset_mm: Of the field's middle from the patient's.
        origin_mm: Where the patient's middle lies in RAS.
    """

    step_mm: tuple[float, float, float]
    noise_hu: float
    sharpness: float
    orientation: str
    turns: tuple[float, float, float]
    offset_mm: tuple[float, float, float]
    origin_mm: tuple[float, float, float]

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Protocol":
        """A protocol as one meets them."""
        across = round(float(rng.uniform(0.95, 1.4)), 3)
        between = float(rng.choice([1.5, 2.0, 2.0, 2.5, 2.5, 3.0]))
        x, y, z = (float(angle) for angle in rng.uniform(-6, 6, 3))
        dx, dy, dz = (float(mm) for mm in rng.uniform(-5, 5, 3))
        cx, cy, cz = (float(mm) for mm in rng.uniform([-20, -30, -400], [20, 30, 100]))
        return cls(
            step_mm=(across, across, between),
            noise_hu=float(rng.uniform(12, 26)),
            sharpness=float(rng.uniform(0.22, 0.34)),
            orientation=str(rng.choice(ORIENTATIONS)),
            turns=(x, y, z),
            offset_mm=(dx, dy, dz),
            origin_mm=(cx, cy, cz),
        )


def scan(thorax: Thorax, axes: Axes, protocol: Protocol, rng: np.random.Generator) -> NDArray[np.int16]:
    """The image of a thorax in HU, (z, x, y): blurred, with uneven lung tissue and noise."""
    from scipy.ndimage import gaussian_filter1d

    hu = thorax.hu + 16 * _tissue(axes, rng) * thorax.lung
    for axis, sigma_mm in ((1, 0.16 / protocol.sharpness), (2, 0.16 / protocol.sharpness), (0, 0.36 * axes.step_mm[2])):
        step = axes.step_mm[(2, 0, 1)[axis]]
        hu = gaussian_filter1d(hu, sigma_mm / step, axis=axis, truncate=2.5, mode="nearest")
    hu += _quantum_noise(axes, protocol, rng)
    return np.clip(np.rint(hu), AIR_HU - 24, 3071).astype(np.int16)


def place(array: NDArray[Voxel], axes: Axes, protocol: Protocol) -> tuple[NDArray[Voxel], Grid]:
    """Stores an array (z, x, y) in the protocol's orientation, with the affine that keeps every voxel in its place."""
    affine = _ras_affine(axes, protocol)
    stored = array.transpose(1, 2, 0)  # now R, A, S
    axis_of = [_LETTERS[letter][0] for letter in protocol.orientation]
    signs = [_LETTERS[letter][1] for letter in protocol.orientation]
    columns = affine[:3, :3].copy()
    for new, (old, sign) in enumerate(zip(axis_of, signs, strict=True)):
        affine[:3, new] = columns[:, old] * sign
        if sign < 0:
            affine[:3, 3] += columns[:, old] * (stored.shape[old] - 1)
    flips = tuple(slice(None, None, sign) for sign in signs)
    stored = np.ascontiguousarray(stored.transpose(axis_of)[flips])
    return stored, Grid((stored.shape[0], stored.shape[1], stored.shape[2]), affine)


def to_ras(point_mm: FloatArray, protocol: Protocol) -> list[float]:
    """Where a point of the phantom's own frame lies in the patient's space."""
    return [round(float(mm), 2) for mm in _turn(protocol) @ point_mm + protocol.origin_mm]


def _ras_affine(axes: Axes, protocol: Protocol) -> FloatArray:
    affine = np.eye(4)
    affine[:3, :3] = _turn(protocol) @ np.diag(axes.step_mm)
    first = np.array([axes.x[0, 0], axes.y[0, 0], axes.z[0]], dtype=np.float64)
    affine[:3, 3] = _turn(protocol) @ first + protocol.origin_mm
    return affine


def _turn(protocol: Protocol) -> FloatArray:
    from scipy.spatial.transform import Rotation

    return np.asarray(Rotation.from_euler("xyz", protocol.turns, degrees=True).as_matrix(), dtype=np.float64)


def _quantum_noise(axes: Axes, protocol: Protocol, rng: np.random.Generator) -> NDArray[np.float32]:
    """Noise of filtered back-projection: little at low frequencies, a hump, and gone beyond the kernel's limit."""
    frequency = _frequencies(axes)
    noise = _filtered(axes, frequency * np.exp(-((frequency / protocol.sharpness) ** 2)), rng)
    noise[1:] += 0.4 * noise[:-1].copy()
    noise *= _loudness(axes) * np.float32(protocol.noise_hu / noise.std())
    return noise


def _tissue(axes: Axes, rng: np.random.Generator) -> NDArray[np.float32]:
    """Unevenness of lung tissue over some millimetres, standard deviation 1."""
    frequency = _frequencies(axes)
    texture = _filtered(axes, np.exp(-((frequency / 0.06) ** 2)) + 0.15 * np.exp(-((frequency / 0.2) ** 2)), rng)
    keep = np.float32(np.exp(-axes.step_mm[2] / 5.0))
    for z in range(1, len(texture)):
        texture[z] = keep * texture[z - 1] + np.sqrt(1 - keep**2) * texture[z]
    texture /= texture.std()
    return texture


def _filtered(axes: Axes, gain: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float32]:
    """White noise of each slice, (z, x, y), weighted by frequency; drawn as a spectrum to save a transform."""
    from scipy import fft

    nz, nx, ny = axes.shape
    half = gain.shape[1]
    spectrum = rng.standard_normal((nz, gain.shape[0], half, 2), dtype=np.float32).view(np.complex64)[..., 0]
    spectrum *= gain.astype(np.float32)
    return np.asarray(fft.irfft2(spectrum, s=(gain.shape[0], 2 * (half - 1)))[:, :nx, :ny], dtype=np.float32)


def _frequencies(axes: Axes) -> NDArray[np.float64]:
    """Spatial frequency in 1/mm of each coefficient of a slice's real Fourier transform, at a quick size."""
    from scipy import fft

    _, nx, ny = axes.shape
    nx, ny = fft.next_fast_len(nx), 2 * fft.next_fast_len((ny + 1) // 2)
    fx, fy = np.fft.fftfreq(nx, axes.step_mm[0]), np.fft.rfftfreq(ny, axes.step_mm[1])
    return np.asarray(np.hypot(fx[:, None], fy[None, :]), dtype=np.float64)


def _loudness(axes: Axes) -> NDArray[np.float32]:
    """Noise is loudest in the middle of the body, where fewest photons arrive from."""
    level = (axes.x / 140) ** 2 + (axes.y / 105) ** 2
    return (0.5 + 0.6 * np.exp(-level)).astype(np.float32)
