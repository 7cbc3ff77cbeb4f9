"""The flags of `python -m segpipe evaluate`."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from segpipe.cli.common.flags import VerbParser
from segpipe.cli.common.model_flags import add_model_flag
from segpipe.cli.common.point_flags import add_point_flags
from segpipe.cli.common.shard_flags import add_shard_flag
from segpipe.errors import ConfigError

_ONE_CLASS = ("prediction_label", "reference_label")
_POINT = ("threshold", "min_volume", "sensitivity", "fp_per_scan")
_NEEDED = {"predictions": ("references",), "model": ("data",), "marks": ("reference", "annotations")}
"""What is evaluated → the flags it needs."""
_TAKEN = {
    "predictions": ("table", "mask_name", *_ONE_CLASS, "classes", "ignore", "processes", "shard"),
    "model": ("split", "cases", *_POINT, "verify_key", "backend", "device", "shard"),
    "marks": (),
}
"""What is evaluated → the flags it takes as well."""


def parse_flags(argv: Sequence[str]) -> argparse.Namespace:
    """Reads the command line of `evaluate`.

    Raises:
        ConfigError: for unknown, missing or contradicting flags.
    """
    given = _parser().parse_args(argv)
    evaluated = [name for name in _NEEDED if getattr(given, name) is not None]
    if len(evaluated) != 1:
        raise ConfigError(
            "give either --predictions and --references, --model and --data, or --marks, --reference and --annotations"
        )
    _check_combination(given, evaluated[0])
    if given.split is not None and given.cases is not None:
        raise ConfigError("give either --split or --cases: both say which cases are evaluated")
    one_class = [name for name in _ONE_CLASS if getattr(given, name) is not None]
    if given.classes and one_class:
        raise ConfigError("give either --classes or labels of one class", facts={"found": _flags(one_class)})
    if given.ignore is not None and not given.classes:
        raise ConfigError("--ignore needs --classes, since otherwise every value but 0 counts")
    if given.processes is not None and given.processes < 1:
        raise ConfigError("--processes must be at least 1", facts={"found": given.processes})
    return given


def _check_combination(given: argparse.Namespace, evaluated: str) -> None:
    """Raises when a flag is missing or belongs to another kind of evaluation."""
    needed, taken = _NEEDED[evaluated], (*_NEEDED[evaluated], *_TAKEN[evaluated])
    missing = [name for name in needed if getattr(given, name) is None]
    if missing:
        raise ConfigError(f"--{evaluated} needs {_flags(missing)}")
    every = [name for kind in _NEEDED for name in (*_NEEDED[kind], *_TAKEN[kind])]
    misplaced = [name for name in every if name not in taken and getattr(given, name) is not None]
    if misplaced:
        raise ConfigError(f"flags that --{evaluated} does not take", facts={"found": _flags(misplaced)})


def _flags(names: Sequence[str]) -> str:
    return ", ".join(f"--{name.replace('_', '-')}" for name in names)


def _parser() -> argparse.ArgumentParser:
    parser = VerbParser(
        "evaluate",
        description="Compares masks with references in each scan's own space, or a detector's marks with nodules.",
    )
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="summary, tables and report go here")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the bootstrap (default: 0)")
    add_shard_flag(parser.add_argument)
    _add_masks(parser.add_argument_group("masks of any tool"))
    _add_model(parser.add_argument_group("a model folder"))
    _add_marks(parser.add_argument_group("marks of any detector, by the rules of LUNA16"))
    return parser


def _add_masks(masks: argparse._ArgumentGroup) -> None:
    masks.add_argument("--predictions", type=Path, metavar="DIR", help="masks to evaluate (NIfTI, NRRD, MetaImage)")
    masks.add_argument("--references", type=Path, metavar="DIR", help="masks of the same names to compare them with")
    masks.add_argument("--table", type=Path, metavar="CSV", help="columns case and patient; others serve strata")
    masks.add_argument("--mask-name", metavar="NAME", help="which mask counts where each case has a folder of them")
    masks.add_argument("--prediction-label", type=int, metavar="VALUE", help="value that counts (default: all but 0)")
    masks.add_argument("--reference-label", type=int, metavar="VALUE", help="value that counts (default: all but 0)")
    masks.add_argument(
        "--classes",
        nargs="+",
        metavar="NAME=VALUES",
        help="several classes by their values in both masks, e.g. solid=1 glass=2, or regions nodule=1,2 core=2",
    )
    masks.add_argument("--ignore", type=int, metavar="VALUE", help="value of reference voxels that do not count")
    masks.add_argument("--processes", type=int, metavar="N", help="how many work at once (default: one per core)")


def _add_model(model: argparse._ArgumentGroup) -> None:
    add_model_flag(model.add_argument, required=False)
    model.add_argument("--data", type=Path, metavar="DATASET", help="a data set that `ingest` made")
    model.add_argument(
        "--split",
        choices=("train", "val", "test", "all"),
        help="default: what the model's training held out, else test where the data set fixes it, else all",
    )
    model.add_argument(
        "--cases",
        type=Path,
        metavar="CSV",
        help="only the cases that this table has in its column case, e.g. RUN/evaluation/cases.csv of another model",
    )
    add_point_flags(model.add_argument)
    model.add_argument(
        "--backend",
        metavar="NAME",
        help="torch, onnx or openvino; default: torch, or onnx for a network from elsewhere",
    )
    model.add_argument("--device", choices=("auto", "cpu", "cuda", "mps"), help="default: auto")


def _add_marks(marks: argparse._ArgumentGroup) -> None:
    marks.add_argument("--marks", type=Path, metavar="CSV", help="seriesuid, coordX, coordY, coordZ, probability")
    marks.add_argument("--reference", metavar="KIND", help="luna16, or dataset for one that `ingest` made")
    marks.add_argument("--annotations", type=Path, metavar="DIR", help="LUNA16's tables, or the data set folder")
