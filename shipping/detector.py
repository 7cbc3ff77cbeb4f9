r"""Puts the detector of a run or of a cross-validation, which searches whole scans, into the package.

    python shipping/detector.py RUN --name lung-nodules --fp-per-scan 4 --measured "whole scans=DIR" \
        --attribution shipping/detector_attribution.md --limits shipping/detector_limits.md

Weights are kept in half precision and once, as `bundle.py` keeps them. The card gets what evaluations of scans that the
network has not seen say of it (`python -m segpipe evaluate --model RUN/model --data SCANS --output EVALUATION`). Then
PyTorch and ONNX Runtime search crops of the sample with what was written: the masks must be the same, and those of full
precision.
"""

import argparse
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
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
from segpipe.export.model_folder import ModelFolder, read_model_folder
from segpipe.export.shipped import FOLDER
from segpipe.export.staging import staged_folder
from segpipe.inference.operating_point import OperatingPointRequest, choose_point
from segpipe.system.files.csv_table import read_csv

RATES = ("0.5", "1", "2", "4")
CROPS = 6
LARGE = "6 mm and more"
HEAD = """Lesions of scans that the network has not seen, found when a candidate's middle lies in the reference lesion.
The rates are false positives a scan, at whatever confidence leaves so many. Diameters are the longest ones of the
reference mask."""
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
        confidence = run.operating_point.get("confidence")
        whole = merge([at_rate(run, given.fp_per_scan)], crops[0], Path(scratch) / "model", confidence=confidence)
        shutil.copytree(whole.path, staging, dirs_exist_ok=True)
        slim(staging)
        _finish(staging, given)
        for line in compare([run], read_model_folder(staging), crops):
            print(line)
        size = sum(file.stat().st_size for file in staging.rglob("*") if file.is_file())
    print(f"{target}: {size / 1e6:.2f} MB")


def at_rate(run: ModelFolder, fp_per_scan: float | None) -> ModelFolder:
    """The model at the point of its curve that leaves so many false positives a scan; as it is without a number."""
    if fp_per_scan is None:
        return run
    stored = dict(run.operating_point)
    chosen = choose_point(stored, OperatingPointRequest(fp_per_scan=fp_per_scan))
    origin = f"{stored['origin']}: at most {fp_per_scan:g} false positives a scan"
    return replace(run, operating_point={**stored, "min_probability": chosen.min_probability, "origin": origin})


def figures(evaluations: Sequence[tuple[str, Path]]) -> Iterator[str]:
    """The lines of a table of what evaluations found, by size.

    Args:
        evaluations: What was evaluated, and the folder of the evaluation.
    """
    yield f"| | lesions | {' | '.join(f'found at {rate}' for rate in RATES)} |"
    yield f"| --- | ---: | {' | '.join('---:' for _ in RATES)} |"
    for name, folder in evaluations:
        rows = [row for row in read_csv(folder / "froc_by_diameter.csv")[1] if row["rule"] == "centre"]
        groups: dict[str, Sequence[Mapping[str, Any]]] = {row["diameter"]: [row] for row in rows}
        for title, chosen in {**groups, LARGE: _large(rows)}.items():
            yield f"| {name}: {title} | {_cells(chosen)} |"


def at_point(name: str, folder: Path) -> str:
    """What the operating point showed in an evaluation by the model as it ships."""
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    rows = _large([{"diameter": size, **figures} for size, figures in summary["strata"]["diameter"].items()])
    found, count = (sum(int(row[key]) for row in rows) for key in ("found", "lesions"))
    false = summary["lesions"]["fp_per_scan"]
    shown = f"{found} of {count} lesions of {LARGE} ({name}), {false:.1f} false a scan"
    return f"At its operating point this folder shows {shown}."


def _large(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [row for row in rows if row["diameter"] != DIAMETERS_MM[0][2]]


def _cells(rows: Sequence[Mapping[str, Any]]) -> str:
    """Of lesions of some sizes how many there are, and the share that is found at each rate."""
    counts = [int(row["lesions"]) for row in rows]
    shares = [[float(row[f"sensitivity_at_{rate}"]) for row in rows] for rate in RATES]
    means = [sum(map(mul, of_rate, counts)) / sum(counts) for of_rate in shares]
    return " | ".join([str(sum(counts)), *(f"{share:.2f}" for share in means)])


def _finish(folder: Path, given: argparse.Namespace) -> None:
    """Adds what is known of scans that it has not seen, and of the data, and lists the files."""
    attribution = given.attribution.read_text(encoding="utf-8")
    (folder / "ATTRIBUTION.md").write_text(attribution, encoding="utf-8")
    (folder / "LICENSE").write_text(LICENCE, encoding="utf-8")
    tables = "\n\n".join([HEAD, "\n".join(figures(given.measured)), *(at_point(*one) for one in given.at_point)])
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
    add("--at-point", nargs="+", default=[], type=_measured, metavar="WHAT=DIR", help="those by the model as it ships")
    add("--fp-per-scan", type=float, metavar="N", help="the operating point; default: where F1 is best")
    add("--attribution", required=True, type=Path, metavar="FILE", help="a page that says whose the data is")
    add("--limits", required=True, type=Path, metavar="FILE", help="further limits, as lines of a list")
    return parser.parse_args()


if __name__ == "__main__":
    main()
