"""Puts the model of a run, or those of a cross-validation as one, into the package.

    python shipping/bundle.py runs/…/fold_*/ --name lidc-voi --crops /data/lidc_nodules --clicks clicks.csv

Of several runs the networks' probabilities are averaged, in one network and one ONNX graph. Weights are kept in half
precision and once (`slim.py`); what only MONAI's tools read, and TorchScript, stays out. The card gets the figures of
the cross-validation (`card.py`; --folds, where the model is another one) and says whose the data is, the operating
point what the findings of those networks teach about confidence (`confidence.py`). Then PyTorch and ONNX Runtime
segment real nodules with what was written: the masks must be the same, and those of full precision.
"""

import argparse
import hashlib
import json
import shlex
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from card import out_of_fold
from confidence import COLUMNS, fit, out_of_fold_results
from slim import settle_weights, share_weights
from torch import nn

from segpipe.case import Case
from segpipe.cli.predict.flags import parse_flips
from segpipe.datasets.loading import load_lesions
from segpipe.datasets.sources.implanted import open_nodules
from segpipe.errors import ModelError
from segpipe.evaluation.drift.fingerprint import fingerprint_together
from segpipe.evaluation.strata import rating_stratum
from segpipe.export.export_spec import CARD, INDEX, MONAI_WEIGHTS, ONNX, TORCHSCRIPT, WEIGHTS
from segpipe.export.model_folder import ModelFolder, load_network, read_model_folder, write_model_folder
from segpipe.export.second_stage import load_stage
from segpipe.export.seen_cases import seen_together
from segpipe.export.shipped import FOLDER
from segpipe.export.staging import staged_folder
from segpipe.export.writing import checksum
from segpipe.geometry import round_up
from segpipe.inference.engines.backends import build_engine
from segpipe.inference.engines.engine import Engine, TorchEngine
from segpipe.inference.options import PredictOptions
from segpipe.inference.predictor import predict_case
from segpipe.networks.ensemble import Ensemble
from segpipe.preprocessing.recipe import Recipe
from segpipe.preprocessing.resampling import normalise, plan_preparation, resample_to_recipe
from segpipe.system.files.csv_table import read_csv

LARGEST_BYTES = 10 * 10**6
LEAST_DICE = 0.99
"""Of the masks by half and by full precision of the weights; those by PyTorch and ONNX Runtime differ by less."""
HEAD = """Every nodule once, as the network segmented it that had not seen its patient, in its crop's own voxels, with
95 % bootstrap intervals of the mean over patients. These are the networks of the folds, each by itself; the model
in this folder has learnt from these patients, or from most of them. Diameters and ratings are those of LIDC's readers.
Made by

    {words}

"""
USE = """    python -m segpipe predict --input SCAN --at x,y,z --output DIR
    python -m segpipe predict --model {name} --input SCAN --at x,y,z --output DIR

The weights are kept in half precision in `models/model.safetensors`, from which `models/model.onnx` reads them, too."""
LIMITS = """- It outlines what lies at a point, and finds nothing by itself: pointed at a vessel, a scar or healthy
  lung it may outline that as well. It says how large a nodule is, and not what to do about it.
- It has learnt from {count} nodules of {patients} patients, {sizes} mm in diameter, in slices of {slices} mm. Of them
  {not_solid:.0%} are rated as part-solid or ground glass; see the tables."""
LICENCE = "Apache License 2.0, as segpipe. ATTRIBUTION.md says whose data the weights were learnt from.\n"
OF_ONE_RUN = ("split", "figures", "selection", "git_commit")
"""What a run says of itself; each patient was seen by all networks but one."""


def main() -> None:
    """Writes the model, checks it and reports on it."""
    given = _parse()
    folders = [_model_of(run) for run in given.runs]
    crops = list(_crops(given.crops, given.count))
    target = FOLDER / given.name
    with TemporaryDirectory() as scratch, staged_folder(target, marker=INDEX) as staging:
        kept = given.kept or Path(scratch) / "kept"
        confidence = fit(out_of_fold_results(given.folds, given.crops, flips=given.flips, kept=kept))
        known = {"confidence": confidence, "fingerprint": fingerprint_of_folds(given.folds)}
        whole = merge(folders, crops[0], Path(scratch) / "model", flips=given.flips, **known)
        shutil.copytree(whole.path, staging, dirs_exist_ok=True)
        slim(staging)
        _finish(staging, given)
        size = sum(file.stat().st_size for file in staging.rglob("*") if file.is_file())
        if size > LARGEST_BYTES:
            raise ModelError("a shipped model must be small", facts={"bytes": size, "allowed": LARGEST_BYTES})
        for line in compare(folders, read_model_folder(staging), crops):
            print(line)
    print(f"{target}: {size / 1e6:.2f} MB")


def fingerprint_of_folds(runs: Sequence[Path]) -> dict[str, Any] | None:
    """That of all scans, each by the network that had not seen it; None when a run has none."""
    known = [_model_of(run).about.get("fingerprint") for run in runs]
    return fingerprint_together([one for one in known if one]) if all(known) else None


def merge(
    folders: Sequence[ModelFolder],
    crop: Case,
    path: Path,
    *,
    flips: tuple[int, ...] | None = None,
    confidence: Mapping[str, Any] | None = None,
    fingerprint: Mapping[str, Any] | None = None,
) -> ModelFolder:
    """One model folder of all, its weights settled for half precision.

    Args:
        folders: Of runs with one recipe and one network.
        crop: What PyTorch and ONNX Runtime are compared on.
        path: Where it is written.
        flips: Axes of test-time flips; None keeps those of the runs.
        confidence: What is known of it; see `segpipe.evaluation.calibration.fitting`.
        fingerprint: Of the scans that several were evaluated on; see `segpipe.evaluation.drift.fingerprint`.
    """
    first = folders[0]
    if any(folder.recipe != first.recipe or folder.network != first.network for folder in folders):
        raise ModelError("models that become one must have one recipe and one network")
    if len(folders) > 1 and first.second_stage:
        raise ModelError("models with a second stage become one by data.fold=all")
    network, spec, about = _together(folders), dict(first.network), dict(first.about)
    settle_weights(network, torch.zeros(1, 1, *round_up(first.recipe.patch, first.divisor)))
    if len(folders) > 1:
        spec = {"name": "ensemble", "members": len(folders), "member": spec}
        alike = [name for name in about if all(folder.about.get(name) == about[name] for folder in folders)]
        about = {name: about[name] for name in alike if name not in OF_ONE_RUN}
        about |= seen_together([folder.about for folder in folders])
        about |= {"fingerprint": fingerprint} if fingerprint else {}
    return write_model_folder(
        path,
        network=network,
        spec=spec,
        recipe=first.recipe,
        operating_point={
            **first.operating_point,
            **({} if flips is None else {"flips": list(flips)}),
            "confidence": confidence or None,
        },
        about=about,
        example_bcxyz=_prepare(crop, first.recipe),
        second_stage=load_stage(first.path, first.second_stage) if first.second_stage else None,
    )


def slim(folder: Path) -> None:
    """Leaves out what segpipe does not read, and keeps the weights once."""
    for name in (MONAI_WEIGHTS, TORCHSCRIPT):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / "configs")
    share_weights(folder / WEIGHTS, folder / ONNX)


def sign(folder: Path) -> None:
    """Lists the files that a model folder holds now."""
    index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    files = sorted(file for file in folder.rglob("*") if file.is_file() and file.name != INDEX)
    digests = {file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    index |= {"files": digests}
    text = json.dumps({**index, "checksum": checksum(index)}, indent=2, ensure_ascii=False)
    (folder / INDEX).write_text(text + "\n", encoding="utf-8")


def compare(folders: Sequence[ModelFolder], written: ModelFolder, crops: Sequence[Case]) -> Iterator[str]:
    """Says how the masks of the written model differ from those of the runs, and by whom it is run.

    Raises:
        ModelError: when they differ.
    """
    labels = written.recipe.label_map
    runs = TorchEngine(_together(folders), labels, device="cpu", precision="fp32")
    by_torch = build_engine(written, backend="torch", device="cpu", exact=True)
    by_onnx = build_engine(written, backend="onnx", device="cpu")
    masks = [_masks(written, engine, crops) for engine in (runs, by_torch, by_onnx)]
    for name, one, other in (("half and full precision", *masks[:2]), ("ONNX Runtime and PyTorch", *masks[1:])):
        dice = [_dice(a, b) for a, b in zip(one, other, strict=True)]
        unlike = sum(value < 1 for value in dice)
        if min(dice) < LEAST_DICE:
            raise ModelError(f"masks differ by {name}", facts={"lowest Dice": min(dice)})
        yield f"{name}: {unlike} of {len(dice)} masks differ, lowest Dice {min(dice):.4f}"


def _dice(one: torch.Tensor, other: torch.Tensor) -> float:
    both, either = int((one & other).sum()), int(one.sum() + other.sum())
    return 2 * both / either if either else 1.0


def _together(folders: Sequence[ModelFolder]) -> nn.Module:
    networks = [load_network(folder) for folder in folders]
    return Ensemble(networks).eval() if len(networks) > 1 else networks[0]


def _masks(model: ModelFolder, engine: Engine, crops: Sequence[Case]) -> list[torch.Tensor]:
    options = PredictOptions(flips=tuple(model.operating_point.get("flips", ())), keep_probability=False, measure=False)
    predictions = (predict_case(crop, model.recipe, engine, options, divisor=model.divisor) for crop in crops)
    return [torch.from_numpy(prediction.mask > 0) for prediction in predictions]


def _finish(folder: Path, given: argparse.Namespace) -> None:
    """Adds what is known of patients whom no network had seen, and of the data, and lists the files."""
    attribution = given.attribution.read_text(encoding="utf-8").format(
        what="Weights that were learnt from crops of nodules", changes="Nothing of them is in here but what was learnt."
    )
    (folder / "ATTRIBUTION.md").write_text(attribution, encoding="utf-8")
    (folder / "LICENSE").write_text(LICENCE, encoding="utf-8")
    card = (folder / CARD).read_text(encoding="utf-8")
    figures = "\n".join(out_of_fold(given.folds, given.table, given.clicks))
    figures = HEAD.format(words=_words(given)) + figures
    use = USE.format(name=given.name)
    text = describe(card, use=use, figures=figures, limits=limits(given.table), attribution=attribution)
    (folder / CARD).write_text(text, encoding="utf-8")
    sign(folder)


def limits(table: Path) -> str:
    """What the model has learnt from, and what it cannot do, as further lines of a list."""
    rows = read_csv(table)[1]
    return LIMITS.format(
        count=len(rows),
        patients=len({row["patient"] for row in rows}),
        sizes=_span([float(row["diameter_mm"]) for row in rows]),
        slices=_span([float(row["spacing_mm"].split("x")[-1]) for row in rows]),
        not_solid=np.mean([rating_stratum("texture", float(row["texture"])) != "solid" for row in rows]),
    )


def _span(values: Sequence[float]) -> str:
    return f"{min(values):.2g} to {max(values):.2g}"


def describe(card: str, *, use: str, figures: str, limits: str, attribution: str) -> str:
    """The card of a run with other figures, another use, and whose the data is.

    Args:
        card: What the export wrote.
        use: How it is used.
        figures: Tables.
        limits: Further ones.
        attribution: A page that begins with a headline.
    """
    head, *parts = card.split("\n## ")
    sections = {part.partition("\n")[0]: part.partition("\n")[2].strip("\n") for part in parts}
    sections |= {"Figures": figures.strip("\n"), "Use": use}
    sections["Limits"] += "\n" + limits
    sections["Attribution"] = attribution.partition("\n")[2].strip("\n")
    return "\n".join([head, *(f"## {title}\n\n{text}\n" for title, text in sections.items())])


def _words(given: argparse.Namespace) -> str:
    names = [f"{run.name}/" for run in given.folds]
    more = ["--clicks", given.clicks.name] if given.clicks else []
    return shlex.join(["python", "shipping/card.py", *names, "--table", given.table.name, *more])


def _model_of(run: Path) -> ModelFolder:
    return read_model_folder(run / "model" if (run / "model").is_dir() else run)


def _crops(root: Path, count: int) -> Iterator[Case]:
    """So many nodules, evenly over the data set."""
    manifest = open_nodules(root, COLUMNS)
    for number in range(count):
        yield load_lesions(manifest.entries[number * len(manifest.entries) // count], manifest.labels)


def _prepare(crop: Case, recipe: Recipe) -> torch.Tensor:
    return normalise(resample_to_recipe(crop.image, plan_preparation(crop.grid, recipe)), recipe)[None, None]


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("runs", nargs="+", type=Path, metavar="RUN", help="run folders, one for each fold")
    add("--name", required=True, help="of the model in the package")
    add(
        "--crops",
        required=True,
        type=Path,
        metavar="DIR",
        help="images/, masks/ and nodules.csv: what masks are compared on",
    )
    add("--attribution", type=Path, default=Path(__file__).with_name("lidc_attribution.md"), metavar="FILE")
    add("--folds", nargs="+", type=Path, metavar="RUN", help="those whose figures the card has; default: the runs")
    add("--clicks", type=Path, metavar="CSV", help="what benchmarks/clicks.py wrote about the same models")
    add("--kept", type=Path, metavar="DIR", help="where figures of nodules are kept; a second call is quicker")
    add("--flips", type=parse_flips, metavar="AXES", help="of the model, e.g. x or none; default: those of the runs")
    add("--count", type=int, default=24, metavar="N", help="nodules on which masks are compared (default: 24)")
    given = parser.parse_args()
    given.table = given.crops / "nodules.csv"
    given.folds = given.folds or given.runs
    return given


if __name__ == "__main__":
    main()
