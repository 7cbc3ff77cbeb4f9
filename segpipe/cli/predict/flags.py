"""The flags of `python -m segpipe predict`, checked as far as they can be without the model."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from segpipe.cli.common.compute_flags import add_compute_flags, add_memory_flag
from segpipe.cli.common.flags import VerbParser
from segpipe.cli.common.model_flags import add_model_flag, add_ratings_flag
from segpipe.cli.common.pacs_flags import add_pacs_flags
from segpipe.cli.common.point_flags import add_point_flags
from segpipe.cli.common.shard_flags import add_shard_flag
from segpipe.cli.predict.inputs import check_input, parse_input
from segpipe.cli.predict.prompt_flags import FLAGS, add_prompt_flags, join_words, read_prompt
from segpipe.errors import ConfigError
from segpipe.export.shipped import SCAN_MODEL, VOI_MODEL, find_model, shipped_models

FORMATS = ("nifti", "csv", "json")
EXPLANATIONS = ("gradcam", "gradients", "occlusion")
METHODS = ("auto", "flips", "ensemble", "dropout")


def parse_flags(argv: Sequence[str]) -> argparse.Namespace:
    """Reads the command line of `predict`.

    Raises:
        ConfigError: for unknown, missing or unreadable flags.
    """
    given = _parser().parse_args(join_words(argv))
    given.prompt = read_prompt(given)
    given.output_format = _with_maps(given)
    if given.uncertainty and not {*FORMATS, "html"} & {*given.output_format}:
        found = " ".join(given.output_format)
        raise ConfigError(f"--uncertainty is for one of {', '.join(FORMATS)} and html", facts={"formats": found})
    if "dicom-map" in given.output_format and not given.explain:
        raise ConfigError("the format dicom-map is of explanations", hint="--explain gradcam")
    given.model = given.model or _model_for(given)
    check_input(given)
    if given.shard and (given.prompt or given.follow_up or not isinstance(given.input, Path)):
        raise ConfigError(
            "--shard is for a folder of scans",
            facts={
                "found": "a lesion's place or --follow-up" if isinstance(given.input, Path) else "a DICOMweb address"
            },
            hint="leave --shard out",
        )
    return given


def check_single(given: argparse.Namespace, scans: int) -> None:
    """Checks the flags that speak of one scan.

    Raises:
        ConfigError: for several scans, or flags that do not fit each other.
    """
    for flag, value in (*((flag, getattr(given, flag[2:])) for flag in FLAGS), ("--follow-up", given.follow_up)):
        if value and scans > 1:
            raise ConfigError(f"{flag} belongs to one scan", facts={"scans": scans}, hint="give one scan as --input")
    if given.days is not None and (not given.follow_up or given.days <= 0):
        raise ConfigError("--days is the time since the scan of --follow-up", facts={"days": given.days})


def parse_flips(text: str) -> tuple[int, ...]:
    """Reads the axes to mirror.

    >>> parse_flips("xy"), parse_flips("none")
    ((0, 1), ())
    """
    if text == "none":
        return ()
    if not text or set(text) - set("xyz"):
        raise argparse.ArgumentTypeError(f"axes to mirror are some of x, y and z (e.g. xy), or none, not {text!r}")
    return tuple("xyz".index(letter) for letter in text)


def _parser() -> argparse.ArgumentParser:
    parser = VerbParser("predict", description="Segments scans with a model folder.")
    _add_input(parser)
    _add_output(parser.add_argument)
    _add_target(parser.add_argument_group("what to look for").add_argument)
    _add_computation(parser.add_argument_group("how to compute").add_argument)
    return parser


def _add_input(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    known = [f"{SCAN_MODEL} searches the scan", f"with --at {VOI_MODEL} measures the nodule there"]
    text = f"; without it {', '.join(known)}" if {SCAN_MODEL, VOI_MODEL} <= set(shipped_models()) else ""
    add_model_flag(add, text=text, required=False)
    add(
        "--input",
        required=True,
        type=parse_input,
        metavar="SCAN",
        help="a NIfTI, NRRD or MetaImage file, a folder of them, a DICOM folder, zip file or DICOMDIR, or the DICOMweb"
        " address of a study or a series: https://…/studies/UID[/series/UID]",
    )
    add_pacs_flags(parser.add_argument_group("for a DICOMweb address").add_argument)


def _add_output(add: Any) -> None:
    add_ratings_flag(add)
    add("--output", required=True, type=Path, metavar="DIR", help="where results go; a second call resumes there")
    add_shard_flag(add)
    add(
        "--output-format",
        nargs="+",
        default=list(FORMATS),
        metavar="FORMAT",
        help="what to write: some of nifti csv json html dicom-seg dicom-labelmap dicom-mask dicom-sr "
        "dicom-map rtstruct (default: nifti csv json)",
    )


def _add_target(add: Any) -> None:
    add_prompt_flags(add)
    add_point_flags(add)
    add(
        "--search",
        default="lungs",
        choices=("lungs", "everywhere"),
        help="where a whole scan is searched (default: lungs; a scan without lungs is refused)",
    )
    add(
        "--follow-up",
        type=Path,
        metavar="EARLIER.json",
        help="findings of an earlier scan of the same patient, where predict wrote them: reports growth",
    )
    add("--days", type=float, metavar="N", help="since the earlier scan: reports doubling times")


def _add_computation(add: Any) -> None:
    add_compute_flags(add)
    add("--exact", action="store_true", help="float32 even where the hardware has faster bfloat16")
    add(
        "--overlap",
        type=float,
        metavar="PART",
        help="of neighbouring windows (default: that of the model's evaluation, else 0.5)",
    )
    add("--flips", type=parse_flips, metavar="AXES", help="average over mirrored axes, e.g. xyz; none switches it off")
    add_memory_flag(add)
    add(
        "--explain",
        nargs="?",
        const=EXPLANATIONS[0],
        choices=EXPLANATIONS,
        help="maps of what each finding rests on: Grad-CAM (default), integrated gradients or occlusion; with "
        "--ratings of the first rating as well; as NIfTI, in the page, and with DICOM formats as parametric maps",
    )
    add(
        "--uncertainty",
        nargs="?",
        const=METHODS[0],
        choices=METHODS,
        help="maps and figures of how sure the network is, by mirrored views, the members of an ensemble, or dropout "
        "(default: ensemble where the model is one, else flips)",
    )


def _with_maps(given: argparse.Namespace) -> list[str]:
    """The formats; who wants DICOM objects and explanations gets these as DICOM objects, too."""
    formats = list(given.output_format)
    wants = given.explain and any(name.startswith("dicom-") or name == "rtstruct" for name in formats)
    return [*formats, *(["dicom-map"] if wants and "dicom-map" not in formats else [])]


def _model_for(given: argparse.Namespace) -> Path:
    """The shipped model that measures the nodule at a point, or searches a whole scan where no point is given.

    Raises:
        ConfigError: when it does not ship.
    """
    shipped = shipped_models()
    name = VOI_MODEL if given.prompt else SCAN_MODEL
    if name not in shipped:
        raise ConfigError(
            "predict needs --model",
            facts={"shipped": ", ".join(shipped) or "none"},
            hint="--model runs/…/model, the model folder of a finished run",
        )
    return find_model(name)
