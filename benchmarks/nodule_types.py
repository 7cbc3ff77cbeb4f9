"""Nodule types by rule, and diameters, next to those of LIDC's radiologists.

python benchmarks/nodule_types.py /data/lidc_nodules

The folder holds `images/`, `masks/` and `nodules.csv` with the columns nodule, diameter_mm, texture (1 ground glass,
3 part-solid, 5 solid) and calcification (6 absent). Textures 2 and 4 are taken with 1 and 5.
"""

import argparse
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.case import Case
from segpipe.inference.findings import ClassComponents, Finding, measure_findings
from segpipe.io.images.volumes import read_volume
from segpipe.labels import NODULE
from segpipe.lesions import find_components
from segpipe.system.files.csv_table import read_csv

TYPES = ("ground glass", "part-solid", "solid", "calcified")
UNCALCIFIED = "6"


def main() -> None:
    """Prints the confusion table, kappas and the agreement of diameters."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    _, rows = read_csv(folder / "nodules.csv")
    found = [measure(folder, row["nodule"]) for row in rows]
    table = confusion([read_by(row) for row in rows], [finding.nodule_type for finding in found])
    print(f"{'readers / rule':16}" + "".join(f"{name:>14}" for name in TYPES))
    for name, counts in zip(TYPES, table, strict=True):
        print(f"{name:16}" + "".join(f"{count:14}" for count in counts))
    print(f"kappa of the four types: {kappa(table):.2f}")
    print(f"kappa without calcified: {kappa(table[:3, :3]):.2f}, quadratic {kappa(table[:3, :3], power=2):.2f}")
    report_diameters(found, np.array([float(row["diameter_mm"]) for row in rows]))
    print("slices:", dict(Counter(str(finding.slice_note) for finding in found)))


def measure(folder: Path, name: str) -> Finding:
    """Measures the radiologists' mask of one nodule."""
    image, mask = (read_volume(folder / kind / f"{name}.nii.gz") for kind in ("images", "masks"))
    components = find_components(mask.array)
    found = [ClassComponents(NODULE, components, [1], [(1.0, 1.0)] * components.count)]
    return measure_findings(Case(name, image.array, image.grid), found)[0]


def read_by(row: dict[str, str]) -> str:
    """The type that the readers' ratings come to."""
    if row["calcification"] != UNCALCIFIED:
        return "calcified"
    return ("ground glass", "ground glass", "part-solid", "solid", "solid")[int(row["texture"]) - 1]


def confusion(truth: list[str], rule: list[str]) -> NDArray[np.int64]:
    """How often each pair occurs; readers in rows."""
    counts = Counter(zip(truth, rule, strict=True))
    return np.array([[counts[one, other] for other in TYPES] for one in TYPES], dtype=np.int64)


def kappa(table: NDArray[np.int64], *, power: int = 0) -> float:
    """Cohen's kappa, each disagreement weighted by the distance of the types to this power (0: all alike)."""
    places = np.arange(len(table))
    apart = np.abs(places[:, None] - places[None]).astype(np.float64)
    weights = (apart > 0) * np.maximum(apart, 1) ** power
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
    return float(1 - (weights * table).sum() / (weights * expected).sum())


def report_diameters(found: list[Finding], published_mm: NDArray[Any]) -> None:
    """Prints how each diameter relates to the one in the table, which LUNA16 averaged over readers."""
    for name in ("mean_diameter_mm", "equivalent_diameter_mm", "axial_diameter_mm", "perpendicular_diameter_mm"):
        own_mm = np.array([getattr(finding, name) for finding in found])
        low, median, high = np.percentile(own_mm - published_mm, [2.5, 50, 97.5])
        correlation = np.corrcoef(own_mm, published_mm)[0, 1]
        print(f"{name:26} median {median:+.1f} mm ({low:+.1f} to {high:+.1f} in 95 %), correlation {correlation:.3f}")


if __name__ == "__main__":
    main()
