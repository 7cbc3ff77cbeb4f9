"""Paints the thorax of a made-up patient slice by slice: wall, bones, mediastinum, abdomen and empty lungs."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from segpipe.datasets.phantom.body import RIB_PITCH_MM, Body
from segpipe.datasets.phantom.canvas import (
    AIR_HU,
    Axes,
    Canvas,
    Superellipse,
    cover,
    ellipse_distance,
    smooth_max,
    smooth_min,
)

Image = NDArray[np.float32]
FAT_HU, MUSCLE_HU, SKIN_HU, LIVER_HU = -98.0, 55.0, 5.0, 62.0
NECK_SCALE = 0.55
CORTEX_HU, MARROW_HU, CARTILAGE_HU, DISC_HU = 620.0, 210.0, 95.0, 85.0


@dataclass(frozen=True, eq=False)
class Thorax:
    """A painted thorax, arrays in the order (z, x, y).

    Args:
        hu: Density.
        lung: Share of each voxel inside the lungs.
        depth_mm: About how deep inside the lungs a voxel lies; negative outside.
    """

    hu: Image
    lung: Image
    depth_mm: Image


def paint_thorax(body: Body, axes: Axes) -> Thorax:
    """Paints all slices."""
    painter = _Painter(body, axes)
    hu = np.full(axes.shape, AIR_HU, dtype=np.float32)
    depth = np.empty(axes.shape, dtype=np.float32)
    for number, z in enumerate(axes.z):
        depth[number] = painter.paint(Canvas(axes, hu[number]), float(z))
    return Thorax(hu, cover(-depth, axes.edge_mm), depth)


@dataclass(frozen=True, eq=False)
class _Painter:
    body: Body
    axes: Axes

    @cached_property
    def skin(self) -> Superellipse:
        return Superellipse(self.axes, (0.0, self.body.cage_y), self.body.skin, 2.3)

    @cached_property
    def cage(self) -> Superellipse:
        return Superellipse(self.axes, (0.0, self.body.cage_y), self.body.cage, 2.25)

    @cached_property
    def dome(self) -> Image:
        return self.body.dome(self.axes.x, self.axes.y)

    @cached_property
    def front(self) -> Image:
        """0 at the back, 1 at the front, in between by the angle around the centre."""
        return (np.abs(self.cage.turn) / np.float32(np.pi)).astype(np.float32)

    def paint(self, canvas: Canvas, z: float) -> Image:
        """Paints one slice and returns the depth inside the lungs in mm."""
        skin = self.skin.distance(1.0 - 0.10 * max(0.0, z / 90.0) ** 2)
        scale = self.body.cage_scale(z)
        frame = self.cage.distance(max(scale, NECK_SCALE))
        cage = frame if scale >= NECK_SCALE else self.cage.distance(scale)
        self._wall(canvas, z, skin, frame)
        canvas.fill(frame, FAT_HU)
        below = self._abdomen(canvas, z, frame)
        mediastinum = self._mediastinum(z)
        self._organs(canvas, z, below)
        depth = -smooth_max(smooth_max(cage + 1.5, -mediastinum, 7.0), below, 5.0)
        canvas.fill(-depth, self._lung_hu(z))
        self._bones(canvas, z, frame)
        self._table(canvas)
        return depth.astype(np.float32)

    def _wall(self, canvas: Canvas, z: float, skin: Image, cage: Image) -> None:
        canvas.fill(skin, SKIN_HU)
        canvas.fill(skin + 2.0, FAT_HU)
        back = 7.0 * np.exp(-((self.front - 0.22) ** 2) / 0.02)
        pectoral = max(0.0, min(1.0, (z + 5) / 40)) * 11.0 * np.exp(-((self.front - 0.78) ** 2) / 0.008)
        shoulder = max(0.0, z - 10) * 0.28
        thickness = 9.0 + back + pectoral + shoulder + 1.5 * np.sin(7 * self.cage.turn + 0.05 * z)
        canvas.fill(np.maximum(cage - thickness.astype(np.float32), skin + 4.5), MUSCLE_HU)
        stripe = np.abs(cage - (8.5 + 0.35 * (thickness - 9.0)).astype(np.float32)) - 0.9
        canvas.fill(np.maximum(stripe, skin + 6.0), -55.0)

    def _abdomen(self, canvas: Canvas, z: float, cage: Image) -> Image:
        """Paints what lies under the diaphragm; returns the distance to the room above it, negative there."""
        below = (self.dome - z) * np.float32(0.8)
        if z > max(self.body.domes) + 2:
            return below
        inside = np.maximum(cage + 2.0, -below + 1.5)
        x, y = self.axes.x, self.axes.y
        canvas.fill(inside, MUSCLE_HU - 10)
        canvas.fill(
            np.maximum(inside + 2.5, (8 - x + 0.12 * y) * 0.7 - 18 + 4 * np.sin(y / 22)).astype(np.float32), LIVER_HU
        )
        left = np.maximum(inside + 2.5, x + 10)
        canvas.fill(left, FAT_HU + 8)
        stomach = ellipse_distance(x + 52, y - 18, (38.0, 34.0), 0.4)
        canvas.fill(np.maximum(left + 2.0, stomach), 24.0)
        canvas.fill(np.maximum(np.maximum(left + 4.0, stomach + 3.0), 26 - y), AIR_HU + 30)
        canvas.fill(np.maximum(left + 1.5, ellipse_distance(x + 72, y + 34, (32.0, 24.0), -0.6)), 52.0)
        return below

    def _mediastinum(self, z: float) -> Image:
        """Distance to everything between the lungs, spine included; negative inside."""
        x, y = self.axes.x, self.axes.y
        middle = 11.0 + 13.0 * np.exp(-(((y + 8) / 30) ** 2)) + 7.0 * (z > 20) * min(1.0, (z - 20) / 25)
        distance = np.abs(x + 2.0) - middle.astype(np.float32)
        distance = smooth_min(distance, ellipse_distance(x, y - self.body.spine_y, (21.0, 19.0)), 6.0)
        distance = smooth_min(distance, ellipse_distance(x + 20, y - self.body.spine_y - 16, (14.5, 14.5)), 4.0)
        distance = smooth_min(distance, self._heart(z) - 4.0, 5.0)
        for side in (-1, 1):
            hilum = (x - side * 36) ** 2 + (y + 8) ** 2 + np.float32((z - 4) ** 2)
            distance = smooth_min(distance, np.sqrt(hilum) - 10.0, 8.0)
        return np.asarray(distance, dtype=np.float32)

    def _heart(self, z: float) -> Image:
        cx, cy, cz = self.body.heart_centre
        a, b, c = self.body.heart
        rise = (z - cz) / c
        if abs(rise) >= 1:
            return np.full((1, 1), 99.0, dtype=np.float32)
        size = float(np.sqrt(1 - rise**2))
        dx, dy = self.axes.x - (cx + 0.25 * (z - cz)), self.axes.y - (cy - 0.12 * (z - cz))
        return ellipse_distance(dx, dy, (a * size, b * size), 0.55)

    def _organs(self, canvas: Canvas, z: float, below: Image) -> None:
        blood = self.body.blood_hu
        heart: Image = np.maximum(self._heart(z), below)
        canvas.fill(heart, 45.0)
        if blood > 100:
            canvas.fill(heart + 11.0, blood * 0.9)
        self._great_vessels(canvas, z, blood)
        self._airway(canvas, z)
        if z > -60:
            canvas.ellipse((-4.0, self.body.spine_y + 22.0), (8.0, 5.0), 38.0)

    def _great_vessels(self, canvas: Canvas, z: float, blood: float) -> None:
        spine = self.body.spine_y
        if z < 46:
            canvas.ellipse((-20.0, spine + 16.0), (10.5, 10.5), blood)
        if -20 < z < 46:
            canvas.ellipse((9.0, 16.0), (14.0, 14.0), blood)
        arch = 121.0 - (z - 46) ** 2
        canvas.bar((9.0, 14.0), (-19.0, spine + 18.0), np.sqrt(max(arch, 0.0)), blood)
        if z > -25:
            canvas.ellipse((24.0, 10.0 - 0.05 * z), (8.0, 9.5), blood * 1.1)
        if -16 < z < 18:
            canvas.ellipse((-13.0, 27.0), (12.5, 12.5), blood)
        for end, height in (((34.0, -8.0), 4.0), ((-34.0, -14.0), 10.0)):
            canvas.bar((-8.0, 18.0), end, np.sqrt(max(81.0 - (z - height) ** 2, 0.0)), blood)
        if z > 54:
            for centre, radius in (((10.0, 2.0), 6.0), ((-9.0, 0.0), 4.5), ((-17.0, -9.0), 5.0), ((-16.0, 14.0), 6.5)):
                canvas.ellipse(centre, (radius, radius), blood)

    def _airway(self, canvas: Canvas, z: float) -> None:
        if z > 22:
            tubes = [(1.0, -14.0, 8.5, 8.0)]
        elif z > -6:
            tubes = [(side * (6.0 + 0.85 * (22 - z)), -14.0 + 0.1 * (22 - z), 7.5, 5.5) for side in (-1, 1)]
        else:
            return
        for x, y, a, b in tubes:
            canvas.ellipse((x, y), (a + 1.8, b + 1.8), 30.0)
            canvas.ellipse((x, y), (a, b), AIR_HU + 10)

    def _lung_hu(self, z: float) -> Image:
        """Lung tissue: denser at the back, where the patient lies on, and along the thin fissures."""
        x, y = self.axes.x, self.axes.y
        tissue = np.broadcast_to(self.body.lung_hu - 0.45 * y, x.shape[:1] + y.shape[1:])
        major = (0.62 * y + 0.78 * z + 2.5 * np.sin(x / 17) + 6).astype(np.float32)
        minor = np.where((x > 0) & (major > 0), z - 6 - 3 * np.sin(x / 21) * np.cos(y / 25), 99).astype(np.float32)
        fissure = np.exp(-((major / 0.8) ** 2)) + np.exp(-((minor / 0.8) ** 2))
        return np.asarray(tissue + 100 * fissure, dtype=np.float32)

    def _bones(self, canvas: Canvas, z: float, cage: Image) -> None:
        self._ribs(canvas, z, cage)
        self._spine(canvas, z)
        if z > -42:
            width, thick = 15.0 + 4 * np.sin(z / 13), 5.0
            y = self.body.cage_y + self.body.cage[1] * self.body.cage_scale(min(z, 45.0)) + 7.0
            canvas.ellipse((0.0, y), (width, thick), CORTEX_HU - 150)
            canvas.ellipse((0.0, y), (width - 1.8, thick - 1.8), MARROW_HU - 60)
        if z > 5:
            self._shoulder_blades(canvas, z, cage)

    def _ribs(self, canvas: Canvas, z: float, cage: Image) -> None:
        """Rings that descend from back to front, cut obliquely by the slice."""
        drop = 88.0 * (1 - np.cos(np.float32(np.pi) * self.front)) / 2
        turns = (z + drop - self.body.phase) / np.float32(RIB_PITCH_MM)
        height = (turns - np.round(turns)) * np.float32(RIB_PITCH_MM)
        level = np.sqrt((height / 6.4) ** 2 + ((cage - 5.0) / 3.9) ** 2)
        bony = self.front < 0.80
        distance = (level - 1) * 3.9
        canvas.fill(
            np.where(bony, distance, distance + 0.3), np.where(bony, np.float32(CORTEX_HU), np.float32(CARTILAGE_HU))
        )
        canvas.fill(np.where(bony, distance + 1.7, 9.0).astype(np.float32), MARROW_HU)

    def _spine(self, canvas: Canvas, z: float) -> None:
        y = self.body.spine_y
        place = ((z - self.body.phase) / RIB_PITCH_MM + 0.5) % 1 - 0.5
        flare = 2.5 * (abs(place) / 0.4) ** 2
        if abs(place) > 0.40:
            canvas.ellipse((0.0, y), (16.5, 13.5), DISC_HU)
        else:
            canvas.ellipse((0.0, y), (14.5 + flare, 12.0 + flare), CORTEX_HU if abs(place) > 0.35 else CORTEX_HU - 120)
            canvas.ellipse((0.0, y), (12.9 + flare, 10.4 + flare), MARROW_HU + (150 if abs(place) > 0.35 else -30))
        arch = y - 21.0
        if abs(place) < 0.32:
            canvas.ellipse((0.0, arch), (13.5, 11.5), CORTEX_HU - 170)
            for side in (-1, 1):
                canvas.bar((side * 11.0, arch - 4.0), (side * 33.0, arch - 9.0), 4.2 - 6 * abs(place), CORTEX_HU - 230)
        canvas.bar((0.0, arch - 10.0), (0.0, arch - 24.0), 2.6 - 2.2 * abs(place), CORTEX_HU - 160)
        canvas.ellipse((0.0, arch), (10.0, 8.0), FAT_HU + 40)
        canvas.ellipse((0.0, arch), (8.0, 6.3), 28.0)

    def _shoulder_blades(self, canvas: Canvas, z: float, cage: Image) -> None:
        lift = 12.0 + 0.12 * z
        start, end = 0.20 - 0.0004 * z, 0.20 + 0.0030 * z
        window = np.maximum(start - self.front, self.front - end) * 120.0
        plate = np.maximum(np.abs(cage - lift - 12 * (self.front - 0.2)) - 2.2, window).astype(np.float32)
        canvas.fill(plate, CORTEX_HU - 120)

    def _table(self, canvas: Canvas) -> None:
        x, y = self.axes.x, self.axes.y
        top = -self.body.skin[1] - 3.0 + x**2 / 2600
        canvas.fill(np.maximum(np.abs(y - top + 3.0) - 2.0, np.abs(x) - 145).astype(np.float32), -550.0)
