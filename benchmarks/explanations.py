"""Whether maps of explanation sit on the lesion: of real nodules, by each method, for outlines and a rating.

python benchmarks/explanations.py /data/lidc_nodules --count 12
"""

import argparse
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from segpipe.datasets.loading import load_lesions
from segpipe.datasets.sources.implanted import open_nodules
from segpipe.export.model_folder import read_model_folder
from segpipe.export.shipped import find_model
from segpipe.inference.engines.backends import build_engine
from segpipe.inference.explanation.attribution import METHODS
from segpipe.inference.explanation.explain import explain_outlines, explain_rating
from segpipe.inference.options import PredictOptions
from segpipe.inference.predictor import predict_case
from segpipe.inference.ratings.rater import Rater

COLUMNS = {"table": "nodules.csv", "case_column": "nodule", "patient_column": "patient"}
Row = tuple[float, float, float, float]


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("crops", type=Path, help="images/, masks/ and nodules.csv")
    parser.add_argument("--count", type=int, default=12, metavar="N", help="nodules, evenly over all (default: 12)")
    parser.add_argument("--model", default="lidc-voi")
    parser.add_argument("--ratings", default="lidc-ratings")
    given = parser.parse_args()
    print("| of | method | nodules | ranks above, median (smallest) | of the map in the nodule | of the crop | s |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for name, rows in measure(given).items():
        above, inside, share, seconds = zip(*rows, strict=True)
        cells = f"{median(inside):.0%} | {median(share):.1%} | {median(seconds):.1f}"
        print(f"| {name} | {len(rows)} | {median(above):.3f} ({min(above):.3f}) | {cells} |")


def measure(given: argparse.Namespace) -> dict[str, list[Row]]:
    """What is explained and how → a row for each nodule whose map shows anything."""
    model, rater = read_model_folder(find_model(given.model)), Rater.open(find_model(given.ratings))
    engine = build_engine(model, backend="torch", device="cpu", exact=True)
    options = PredictOptions(flips=tuple(model.operating_point.get("flips", ())))
    manifest = open_nodules(given.crops, COLUMNS)
    rows: dict[str, list[Row]] = {}
    for number in range(given.count):
        case = load_lesions(manifest.entries[number * len(manifest.entries) // given.count], manifest.labels)
        found = predict_case(case, model.recipe, engine, options, divisor=model.divisor)
        assert case.mask is not None
        for method in METHODS:
            ways = {
                "outline": partial(explain_outlines, case, found, engine, model, method),
                "rating": partial(explain_rating, case, found, rater, model.recipe.label_map, method),
            }
            for what, explain in ways.items():
                begun = perf_counter()
                shown = np.abs(explain().volume)
                rows.setdefault(f"{what} | {method}", []).extend(_row(shown, case.mask > 0, perf_counter() - begun))
    return rows


def _row(shown: NDArray[np.float32], inside: NDArray[np.bool_], seconds: float) -> Iterator[Row]:
    """How often a voxel of the nodule ranks above one outside, the share of the map in it, and its own share."""
    if shown.any():
        ranks, count = rankdata(shown).reshape(shown.shape), int(inside.sum())
        above = (ranks[inside].sum() - count * (count + 1) / 2) / (count * (inside.size - count))
        yield float(above), float(shown[inside].sum() / shown.sum()), float(inside.mean()), seconds


if __name__ == "__main__":
    main()
