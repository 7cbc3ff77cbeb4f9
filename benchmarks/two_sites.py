"""Deals the patients of a data set to two sites, as if two hospitals had outlined it, for docs/transfer.md.

    python benchmarks/two_sites.py /data/lidc_nodules sites
    python -m segpipe ingest --source nifti --input sites/source.csv --output sites/source
    python -m segpipe ingest --source nifti --input sites/target.csv --output sites/target

Patients are shuffled by a seed; the first 40 % of them are the source, all others the target. The sites differ in their
patients and in nothing else, and no patient is in both.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from segpipe.datasets.manifest import Entry
from segpipe.datasets.sources.implanted import open_nodules
from segpipe.datasets.splits import shuffled_patients
from segpipe.system.files.csv_table import write_csv

TABLE = {"table": "nodules.csv", "case_column": "nodule", "patient_column": "patient"}
COLUMNS = ("case", "patient", "image", "mask")


def main() -> None:
    """Writes `source.csv` and `target.csv` and says how large they are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="images/, masks/ and nodules.csv, or a data set made by ingest")
    parser.add_argument("output", type=Path, help="folder of the two tables")
    parser.add_argument("--share", type=float, default=0.4, help="of the patients that are the source")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    entries = open_nodules(given.root, TABLE).entries
    for name, site in two_sites(entries, share=given.share, seed=given.seed).items():
        rows = [_line(entry) for entry in site]
        write_csv(given.output / f"{name}.csv", rows, COLUMNS, what="the cases of a site")
        print(f"{name}: {len(site)} cases of {len({entry.patient for entry in site})} patients")


def two_sites(entries: Sequence[Entry], *, share: float, seed: int) -> dict[str, list[Entry]]:
    """The cases of each site, in the order that they came in.

    Args:
        entries: All cases.
        share: Of the patients that are the source, rounded to whole patients.
        seed: Of the order in which patients are dealt.
    """
    patients = shuffled_patients(entries, seed)
    source = set(patients[: round(share * len(patients))])
    return {
        "source": [entry for entry in entries if entry.patient in source],
        "target": [entry for entry in entries if entry.patient not in source],
    }


def _line(entry: Entry) -> dict[str, str]:
    mask = "" if entry.mask is None else str(entry.mask.resolve())
    return {"case": entry.id, "patient": entry.patient, "image": str(entry.image.resolve()), "mask": mask}


if __name__ == "__main__":
    main()
