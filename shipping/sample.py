"""Makes the sample of real nodules that rides in the package, of a folder of all of them.

    python shipping/sample.py /data/lidc_nodules

Of 5,000 draws of 60 patients, by a seed, with 110 to 125 nodules together, the one is taken whose shares of diameters,
textures and malignancies differ least from those of all patients. Two patients are left out, of whom tests have whole
scans, so that a model trained on the sample can be judged on them. Images keep every HU, as int16; masks are uint8.
"""

import argparse
import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from segpipe.datasets.samples import FOLDER
from segpipe.evaluation.strata import diameter_stratum, rating_stratum
from segpipe.export.staging import staged_folder
from segpipe.io.images.volumes import read_volume, write_volume
from segpipe.system.files.csv_table import read_csv

NAME, TABLE = "lidc_sample", "nodules.csv"
PATIENTS, NODULES, DRAWS, SEED = 60, range(110, 126), 5000, 0
LEFT_OUT = ("LIDC-IDRI-0001", "LIDC-IDRI-0003")
LARGEST_BYTES = 8 * 10**6


def main() -> None:
    """Writes the sample and says how like all nodules it is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="images/, masks/ and nodules.csv")
    parser.add_argument("--output", type=Path, default=FOLDER / NAME, help="default: where it rides in the package")
    given = parser.parse_args()
    columns, rows = read_csv(given.root / TABLE)
    chosen = choose(rows)
    with staged_folder(given.output, marker=TABLE) as folder:
        for row in chosen:
            copy(given.root, folder, row["nodule"])
        with (folder / TABLE).open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(chosen)
        (folder / "ATTRIBUTION.md").write_text(attribution(len(chosen), len(rows)), encoding="utf-8")
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        assert size <= LARGEST_BYTES, f"{size} bytes are too many"
    print(f"{len(chosen)} nodules of {len({row['patient'] for row in chosen})} patients, {size / 1e6:.2f} MB")
    for kind, share in shares(rows).items():
        print(f"{' '.join(kind):<28}{share:8.1%} of all{shares(chosen).get(kind, 0.0):8.1%} of the sample")


def choose(rows: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    """The nodules of the patients that are most like all, in the order of the table."""
    wanted = shares(rows)
    patients = sorted({row["patient"] for row in rows} - set(LEFT_OUT))
    rng = np.random.default_rng(SEED)
    best, least = [], np.inf
    for _ in range(DRAWS):
        drawn = set(rng.choice(patients, PATIENTS, replace=False).tolist())
        chosen = [row for row in rows if row["patient"] in drawn]
        if len(chosen) in NODULES and (found := _difference(wanted, shares(chosen))) < least:
            best, least = chosen, found
    return best


def shares(rows: Sequence[dict[str, str]]) -> dict[tuple[str, str], float]:
    """Kind and stratum of nodules → their share of all."""
    counts = Counter(stratum for row in rows for stratum in _strata(row))
    return {stratum: counts[stratum] / len(rows) for stratum in sorted(counts)}


def attribution(chosen: int, of: int) -> str:
    """Whose the nodules are, and what was changed."""
    changes = f"Changed: {chosen} of {of} crops were taken; their values are the same."
    text = Path(__file__).with_name("lidc_attribution.md").read_text(encoding="utf-8")
    return text.format(what="Crops of nodules", changes=changes)


def copy(root: Path, folder: Path, name: str) -> None:
    """Copies the crop of a nodule and its mask."""
    image, mask = (read_volume(root / kind / f"{name}.nii.gz") for kind in ("images", "masks"))
    hu, inside = image.array.astype(np.int16), mask.array.astype(np.uint8)
    assert np.array_equal(hu, image.array), f"{name}: HU that int16 does not hold"
    assert np.array_equal(inside, mask.array), f"{name}: mask values that uint8 does not hold"
    write_volume(folder / "images" / f"{name}.nii.gz", hu, image.grid)
    write_volume(folder / "masks" / f"{name}.nii.gz", inside, mask.grid)


def _strata(row: dict[str, str]) -> list[tuple[str, str]]:
    ratings = [(name, str(rating_stratum(name, float(row[name])))) for name in ("texture", "malignancy")]
    return [("diameter", diameter_stratum(float(row["diameter_mm"]))), *ratings]


def _difference(one: dict[tuple[str, str], float], other: dict[tuple[str, str], float]) -> float:
    return sum(abs(one.get(kind, 0.0) - other.get(kind, 0.0)) for kind in {*one, *other})


if __name__ == "__main__":
    main()
