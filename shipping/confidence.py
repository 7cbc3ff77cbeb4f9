"""Fits what a model knows of its confidence on nodules of patients whom no network had seen, and checks it.

    python shipping/confidence.py runs/…/fold_*/ --crops /data/lidc_nodules --flips xy --kept DIR

Each run's network predicts the nodules that its training held out (RUN/evaluation/cases.csv), in float32. The tables
are out of fold: what is fitted on all folds but one is checked on that one. A second call with the same --kept does not
predict again. With --together, runs that held out the patients of the first one, the mean of their networks is checked,
too, by what the other folds' single networks teach: a model that ships is such a mean.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np

from segpipe.cli.predict.flags import parse_flips
from segpipe.datasets.sources.implanted import open_nodules
from segpipe.evaluation.bootstrap import interval_of
from segpipe.evaluation.calibration.findings import EvaluatedFindings, calibrated
from segpipe.evaluation.calibration.fitting import fit_confidence
from segpipe.evaluation.calibration.reliability import aurc, finding_error
from segpipe.evaluation.calibration.volumes import class_of
from segpipe.evaluation.calibration.voxels import heat, stack_counts, voxel_error
from segpipe.evaluation.kept_results import KeepingEvaluator, KeptResults
from segpipe.evaluation.results import CaseResult
from segpipe.export.model_folder import load_network, read_model_folder
from segpipe.geometry import FloatArray
from segpipe.inference.batch.runner import model_digest
from segpipe.inference.case_evaluator import CaseEvaluator
from segpipe.inference.engines.engine import TorchEngine
from segpipe.inference.options import PredictOptions
from segpipe.networks.ensemble import Ensemble
from segpipe.system.files.csv_table import read_csv

COLUMNS = {"table": "nodules.csv", "case_column": "nodule", "patient_column": "patient"}
Folds = Sequence[Sequence[CaseResult]]


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("runs", nargs="+", type=Path, metavar="RUN", help="run folders, one for each fold")
    add("--crops", required=True, type=Path, metavar="DIR", help="images/, masks/ and nodules.csv")
    add("--flips", type=parse_flips, metavar="AXES", help="of the model; default: those of the runs")
    add("--together", nargs="+", type=Path, metavar="RUN", help="runs whose mean is checked on the first fold")
    add("--kept", required=True, type=Path, metavar="DIR", help="where the figures of nodules are kept")
    given = parser.parse_args()
    folds = out_of_fold_results(given.runs, given.crops, flips=given.flips, kept=given.kept)
    for line in tables(folds):
        print(line)
    if given.together:
        mean = results_of(given.together, given.crops, flips=given.flips, kept=given.kept)
        for line in of_the_mean(folds, mean):
            print(line)


def out_of_fold_results(
    runs: Sequence[Path], crops: Path, *, flips: tuple[int, ...] | None, kept: Path
) -> list[list[CaseResult]]:
    """For each run the nodules that its training held out, as its network finds them.

    Args:
        runs: Run folders.
        crops: The nodules.
        flips: Axes of test-time flips; None takes those of the run.
        kept: Where the figures of nodules are kept.
    """
    return [results_of([run], crops, flips=flips, kept=kept) for run in runs]


def results_of(runs: Sequence[Path], crops: Path, *, flips: tuple[int, ...] | None, kept: Path) -> list[CaseResult]:
    """The nodules that the training of the first run held out, as the mean of the runs' networks finds them."""
    manifest = open_nodules(crops, COLUMNS)
    entries = {entry.id: entry for entry in manifest.entries}
    models = [read_model_folder(run / "model") for run in runs]
    first, networks = models[0], [load_network(model) for model in models]
    chosen = tuple(first.operating_point["flips"]) if flips is None else flips
    network = Ensemble(networks) if len(networks) > 1 else networks[0]
    engine = TorchEngine(network, first.recipe.label_map, device="cpu", precision="fp32")
    options = PredictOptions(flips=chosen, measure=False)
    evaluate = CaseEvaluator(engine, first.recipe, first.divisor, manifest.labels, options)
    settings = {"model": " ".join(map(model_digest, models)), "flips": list(chosen)}
    keeping = KeepingEvaluator(
        evaluate, attrgetter("id"), KeptResults(kept / " ".join(map(model_digest, models)), settings)
    )
    return [keeping(entries[row["case"]]) for row in read_csv(runs[0] / "evaluation" / "cases.csv")[1]]


def fit(folds: Folds) -> dict[str, Any]:
    """What the model knows of its confidence, by all folds."""
    every = [result for fold in folds for result in fold]
    patients = len({result.patient for result in every})
    origin = f"fitted on {len(every)} nodules of {patients} patients, each as a network found it that had not seen them"
    return fit_confidence(every, origin=f"{origin}; the networks of {len(folds)} folds, each by itself")


def tables(folds: Folds) -> Iterator[str]:
    """What is fitted on all folds but one and checked on that one, in Markdown."""
    fitted = [fit([other for other in folds if other is not fold]) for fold in folds]
    yield from _calibration(folds, fitted)
    yield from _coverage(folds, fitted)
    yield from _referral(folds, fitted)


def of_the_mean(folds: Folds, mean: Sequence[CaseResult]) -> Iterator[str]:
    """How what single networks of the other folds teach fits one of the first fold, and the mean of several."""
    known = fit(folds[1:])
    yield "| on the first fold | mean Dice | ECE | covered | of a patient | referred |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: |"
    for name, results in (("one network", folds[0]), ("the mean of several", mean)):
        findings, rows = EvaluatedFindings.of(results), list(_intervals(results, known))
        sure = _sure(findings, known)
        error = float(finding_error(sure, findings.right, np.ones((1, len(findings))))[0])
        covered = _covered(np.array([row[:4] for row in rows]), np.array([row[4] for row in rows]))
        share = float((sure < known["refer"]["below"]).mean())
        yield f"| {name} | {findings.dice.mean():.3f} | {error:.3f} | {covered} | {share:.1%} |"


def _calibration(folds: Folds, fitted: Sequence[dict[str, Any]]) -> Iterator[str]:
    findings = EvaluatedFindings.of([result for fold in folds for result in fold])
    sure = np.concatenate([_sure(EvaluatedFindings.of(fold), known) for fold, known in zip(folds, fitted, strict=True)])
    counts = [stack_counts([result.voxels for result in fold if result.voxels]) for fold in folds]
    warmer = [heat(own, known["voxels"]["temperature"]) for own, known in zip(counts, fitted, strict=True)]
    yield "| | ECE | 95 % interval | calibrated on the other folds | 95 % interval |"
    yield "| --- | ---: | --- | ---: | --- |"
    before, after = (partial(finding_error, values, findings.right) for values in (findings.probability, sure))
    cells = [f"{_one(error)} | {_interval(error, findings.patients)}" for error in (before, after)]
    yield f"| {len(findings)} findings | {' | '.join(cells)} |"
    raw = partial(voxel_error, np.concatenate(counts))
    patients = [result.patient for fold in folds for result in fold if result.voxels]
    of_all = float(voxel_error(np.concatenate(warmer), np.ones((1, len(warmer))))[0])
    voxels = int(sum(own[:, 0].sum() for own in counts))
    yield f"| {voxels:,} voxels | {_one(raw)} | {_interval(raw, patients)} | {of_all:.3f} | |"
    temperatures = ", ".join(f"{known['voxels']['temperature']:.3f}" for known in fitted)
    risk = 1 - findings.dice
    yield ""
    yield f"Temperatures of the folds: {temperatures}. Right: {findings.right.mean():.1%} of the findings."
    area, best = aurc(findings.probability, risk), aurc(-risk, risk)
    yield f"AURC {area:.4f}; by the Dice itself it would be {best:.4f}, without any order {risk.mean():.4f}."
    yield ""


def _coverage(folds: Folds, fitted: Sequence[dict[str, Any]]) -> Iterator[str]:
    rows = [row for fold, known in zip(folds, fitted, strict=True) for row in _intervals(fold, known)]
    table = np.array([row[:4] for row in rows])
    patients = np.array([row[4] for row in rows])
    begins = [own["from_mm3"] for own in fitted[0]["volume"]["classes"]]
    yield "| found volume | findings | patients | stated | covered | of a patient | upper / lower end |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    kinds: list[tuple[str, Callable[[FloatArray], Any]]] = [("any", lambda mm3: mm3 > 0)]
    for number, begin in enumerate(begins):
        end = f" to {begins[number + 1]:g}" if number + 1 < len(begins) else " and more"
        kinds.append((f"{begin:g}{end} mm³", lambda mm3, number=number: class_of(mm3, begins) == number))
    for name, chosen in kinds:
        inside = chosen(table[:, 0])
        yield _coverage_row(name, table[inside], patients[inside], fitted[0]["volume"]["coverage"])
    for number, fold in enumerate(folds):
        own = np.isin(patients, [result.patient for result in fold])
        yield _coverage_row(f"fold {number}, any", table[own], patients[own], fitted[number]["volume"]["coverage"])
    yield ""


def _coverage_row(name: str, table: FloatArray, patients: Any, stated: float) -> str:
    width = np.median(table[:, 3] / table[:, 2])
    counts = f"{len(table)} | {len(np.unique(patients))} | {stated:.0%}"
    return f"| {name} | {counts} | {_covered(table, patients)} | {width:.2f} |"


def _covered(table: FloatArray, patients: Any) -> str:
    """The share of findings within their intervals, and the mean of it over patients."""
    covered = (table[:, 1] >= table[:, 2]) & (table[:, 1] <= table[:, 3])
    by_patient = [covered[patients == one].mean() for one in np.unique(patients)]
    return f"{covered.mean():.1%} | {np.mean(by_patient):.1%}"


def _intervals(fold: Sequence[CaseResult], known: dict[str, Any]) -> Iterator[tuple[float, float, float, float, str]]:
    """Found volume, reference volume, the ends of the interval, and the patient."""
    findings, classes = EvaluatedFindings.of(fold), known["volume"]["classes"]
    places = class_of(findings.volume_mm3, [own["from_mm3"] for own in classes])
    for index, place in enumerate(places):
        found, reference = findings.volume_mm3[index], findings.reference_mm3[index]
        if np.isfinite(reference):
            low, high = found * classes[place]["low"], found * classes[place]["high"]
            yield found, reference, low, high, findings.patients[index]


def _referral(folds: Folds, fitted: Sequence[dict[str, Any]]) -> Iterator[str]:
    findings = EvaluatedFindings.of([result for fold in folds for result in fold])
    referred = np.concatenate(
        [
            _sure(EvaluatedFindings.of(fold), own) < own["refer"]["below"]
            for fold, own in zip(folds, fitted, strict=True)
        ]
    )
    yield "| | share | mean Dice | right (Dice ≥ 0.8) | Dice below 0.7 |"
    yield "| --- | ---: | ---: | ---: | ---: |"
    for name, part in (("referred", referred), ("kept", ~referred), ("all", referred | True)):
        dice, right = findings.dice[part], findings.right[part]
        yield f"| {name} | {part.mean():.1%} | {dice.mean():.3f} | {right.mean():.1%} | {(dice < 0.7).mean():.1%} |"


def _sure(findings: EvaluatedFindings, known: dict[str, Any]) -> FloatArray:
    return calibrated(findings.probability, known["findings"]["slope"], known["findings"]["intercept"])


def _one(error: Callable[[FloatArray], FloatArray]) -> str:
    count = len(error.args[-1]) if len(error.args) > 1 else len(error.args[0])  # type: ignore[attr-defined]
    return f"{float(error(np.ones((1, count)))[0]):.3f}"


def _interval(error: Callable[[FloatArray], FloatArray], patients: Sequence[str]) -> str:
    found = interval_of(error, patients)
    return f"{found[0]:.3f} … {found[1]:.3f}" if found else "one patient"


if __name__ == "__main__":
    main()
