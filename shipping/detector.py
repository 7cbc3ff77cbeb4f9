"""Puts the detector of a run, which searches whole scans, into the package.

    python shipping/detector.py RUN --name lung-nodules --measured "whole scans=DIR" --attribution FILE --limits FILE

Weights are kept in half precision and once, as `bundle.py` keeps them. The card gets what evaluations of scans that the
network has not seen say of it (`python -m segpipe evaluate --model RUN/model --data SCANS --output EVALUATION`). Then
PyTorch and ONNX Runtime search crops of the sample with what was written: the masks must be the same, and those of full
precision.
"""

import argparse
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from operator import mul
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bundle import LICENCE, compare, describe, merge, sign, slim

from segpipe.datasets.loading import load_lesions
from segpipe.datasets.samples import find_data
from segpipe.datasets.sources.folders import find_cases
from segpipe.evaluation.strata import DIAMETERS_MM
from segpipe.export.export_spec import CARD, INDEX
from segpipe.export.model_folder import read_model_folder
from segpipe.export.shipped import FOLDER
from segpipe.export.staging import staged_folder
from segpipe.system.files.csv_table import read_csv

RATES = ("0.5", "1", "2", "4")
CROPS = 6
HEAD = """Lesions of scans that the network has not seen, found when a candidate's middle lies in the reference lesion.
The rates are false positives a scan, at whatever confidence leaves so many; the operating point was chosen on
phantoms. Diameters are the longest ones of the reference mask."""
USE = """    python -m segpipe predict --input SCAN --output DIR
    python -m segpipe predict --model {name} --input SCAN --output DIR

The weights are kept in half precision in `models/model.safetensors`, from which `models/model.onnx` reads them, too."""


def main() -> None:
    """Writes the model, checks it and reports on it."""
    given = _parse()
    run = read_model_folder(given.run / "model")
    crops = [load_lesions(entry, {1: "nodule"}) for entry in find_cases(find_data("lidc_sample")).entries[:CROPS]]
    target = FOLDER / given.name
    with TemporaryDirectory() as scratch, staged_folder(target, marker=INDEX) as staging:
        whole = merge([run], crops[0], Path(scratch) / "model")
        shutil.copytree(whole.path, staging, dirs_exist_ok=True)
        slim(staging)
        _finish(staging, given)
        for line in compare([run], read_model_folder(staging), crops):
            print(line)
        size = sum(file.stat().st_size for file in staging.rglob("*") if file.is_file())
    print(f"{target}: {size / 1e6:.2f} MB")


def figures(evaluations: Sequence[tuple[str, Path]]) -> Iterator[str]:
    """The lines of a table of what evaluations found, by size.

    Args:
        evaluations: What was evaluated, and the folder of the evaluation.
    """
    yield f"| | lesions | {' | '.join(f'found at {rate}' for rate in RATES)} | at the operating point |"
    yield f"| --- | ---: | {' | '.join('---:' for _ in RATES)} | ---: |"
    for name, folder in evaluations:
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        rows = [row for row in read_csv(folder / "froc_by_diameter.csv")[1] if row["rule"] == "centre"]
        large = [row for row in rows if row["diameter"] != DIAMETERS_MM[0][2]]
        for title, chosen in [*((row["diameter"], [row]) for row in rows), ("6 mm and more", large)]:
            yield f"| {name}: {title} | {_cells(chosen, summary)} |"


def _cells(rows: Sequence[Mapping[str, str]], summary: Mapping[str, Any]) -> str:
    """Of lesions of some sizes how many there are, the share that is found at each rate, and what the point finds."""
    counts = [int(row["lesions"]) for row in rows]
    shares = [[float(row[f"sensitivity_at_{rate}"]) for row in rows] for rate in RATES]
    means = [sum(map(mul, of_rate, counts)) / sum(counts) for of_rate in shares]
    found = sum(summary["strata"]["diameter"][row["diameter"]]["found"] for row in rows)
    false = summary["lesions"]["fp_per_scan"]
    point = f"{found} of {sum(counts)}, {false:.1f} false a scan"
    return " | ".join([str(sum(counts)), *(f"{share:.2f}" for share in means), point])


def _finish(folder: Path, given: argparse.Namespace) -> None:
    """Adds what is known of scans that it has not seen, and of the data, and lists the files."""
    attribution = given.attribution.read_text(encoding="utf-8")
    (folder / "ATTRIBUTION.md").write_text(attribution, encoding="utf-8")
    (folder / "LICENSE").write_text(LICENCE, encoding="utf-8")
    tables = "\n\n".join([HEAD, "\n".join(figures(given.measured))])
    limits = given.limits.read_text(encoding="utf-8").rstrip("\n")
    card = (folder / CARD).read_text(encoding="utf-8")
    use = USE.format(name=given.name)
    text = describe(card, use=use, figures=tables, limits=limits, attribution=attribution)
    (folder / CARD).write_text(text, encoding="utf-8")
    sign(folder)


def _measured(word: str) -> tuple[str, Path]:
    name, _, folder = word.rpartition("=")
    return name, Path(folder)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("run", type=Path, metavar="RUN", help="the run folder")
    add("--name", required=True, help="of the model in the package")
    add("--measured", nargs="+", required=True, type=_measured, metavar="WHAT=DIR", help="evaluations of unseen scans")
    add("--attribution", required=True, type=Path, metavar="FILE", help="a page that says whose the data is")
    add("--limits", required=True, type=Path, metavar="FILE", help="further limits, as lines of a list")
    return parser.parse_args()


if __name__ == "__main__":
    main()
