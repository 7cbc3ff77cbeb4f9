"""The model card and the licence note: what a reader must know before a model is used."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from segpipe import __version__
from segpipe.export.export_spec import INDEX, ONNX, PROGRAM, TRAINED_BY, WEIGHTS, Release
from segpipe.export.guarantee import PRIVACY, guarantee
from segpipe.export.metadata import INTENDED_USE
from segpipe.export.onnx import INPUT, OUTPUT
from segpipe.export.parity import Parity
from segpipe.export.second_stage import INPUTS, STAGE_ONNX, STAGE_WEIGHTS
from segpipe.export.second_stage import OUTPUT as CONFIDENCE
from segpipe.export.seen_cases import SEEN

_FIGURES = {
    "dice": "Dice",
    "iou": "IoU",
    "precision": "precision (voxels)",
    "recall": "recall (voxels)",
    "f1": "F1 (voxels)",
    "volume_error_pct": "volume error, %",
}
_SHOWN_ELSEWHERE = ("figures", "fingerprint", "membership", PRIVACY)
_PHANTOM = "**Trained and evaluated on generated phantoms. Its figures say nothing about patients.**"


def model_card(release: Release, parity: Parity) -> str:
    """The content of `docs/README.md`.

    Known facts are `experiment`, `data`, `data_hash`, `split`, `selection`, `steps`, `figures` (`cases`, `patients`,
    `metrics`, `lesions` of an evaluation's summary) and `git_commit`; others are listed as they are.
    """
    recipe = release.recipe
    lines = [
        f"# {_cell(recipe.name)}: lung {_cell(recipe.label)} segmentation in CT ({_cell(release.network_name)})",
        "",
        f"**Not a medical device.** {INTENDED_USE}",
        "",
        *([_PHANTOM, ""] if release.on_phantom else []),
        *_section("Input and output", _input_rows(release)),
        *_section("Data and training", _data_rows(release.about)),
        *_figures(release),
        *_privacy(release.about),
        *_section("Operating point", _point_rows(release)),
        *_section("Confidence", _confidence_rows(release.operating_point.get("confidence") or {})),
        *_second_stage(release),
        *_limits(release),
        *_use(release, parity),
    ]
    return "\n".join(lines) + "\n"


def licence_note(release: Release) -> str:
    """The content of `LICENSE`: segpipe does not decide about weights and data."""
    return (
        "The configuration files of this folder were written by segpipe and may be used under the Apache License 2.0.\n"
        "\n"
        "The weights belong to whoever trained them. They were learnt from the data that docs/README.md names\n"
        f"({release.about.get('data', 'unknown')}); whether they may be passed on depends on that data's licence.\n"
        "Whoever publishes this folder says next to it which licence applies; its own files belong to its checksum.\n"
    )


def _input_rows(release: Release) -> Iterator[tuple[str, object]]:
    recipe = release.recipe
    yield (
        "scope",
        "a whole scan" if recipe.scope == "scan" else "the lesion at a point or in the middle of a crop",
    )
    yield "orientation", recipe.orientation
    yield "spacing, mm", " × ".join(f"{size:g}" for size in recipe.spacing_mm)
    if recipe.lung_crop:
        yield "cropped to", "the lungs' box; a scan without lungs stays whole"
    yield "HU that become 0 and 1", " and ".join(f"{value:g}" for value in recipe.window_hu)
    for transform in recipe.transforms or ():
        arguments = ", ".join(f"{key}={value}" for key, value in transform.items() if key != "_target_")
        yield "then", f"{transform['_target_']}({arguments})"
    yield "window, voxels", " × ".join(map(str, release.window))
    yield "sizes are multiples of", " × ".join(map(str, release.divisor))
    values = ", ".join(f"{value} is {name}" for value, name in recipe.label_map.class_names.items())
    yield "output", f"mask on the scan's own grid: {values}"
    yield "recipe digest", f"`{recipe.digest}`"


def _data_rows(facts: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    for name, value in facts.items():
        if name in _SHOWN_ELSEWHERE or value is None:
            continue
        if name == SEEN:
            yield "whether it has seen a case", "`python -m segpipe seen --model MODEL --input SCAN`"
            continue
        if name == TRAINED_BY:
            yield "going on with it", "`python -m segpipe +experiment=continue init.from=MODEL data.root=NEW`"
            continue
        text = _listed(value) if isinstance(value, Mapping) else value
        if text != "":
            yield name.replace("_", " "), text


def _listed(values: Mapping[str, Any]) -> str:
    """What is known of several values; a split without folds, for one, has no fold to show."""
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in values.items() if value is not None)


def _figures(release: Release) -> list[str]:
    figures = release.about.get("figures") or {}
    metrics, lesions = figures.get("metrics") or {}, figures.get("lesions") or {}
    if not metrics:
        return ["## Figures", "", "Not evaluated.", ""]
    where = "phantoms" if release.on_phantom else "cases"
    head = f"On {_cell(figures.get('cases', '?'))} held-out {where}, on each scan's own grid; intervals over patients."
    rows = [_figure_row(title, metrics[name]) for name, title in _FIGURES.items() if name in metrics]
    counts = ", ".join(f"{name} {_number(lesions[name])}" for name in ("tp", "fp", "fn") if name in lesions)
    ratios = ", ".join(f"{name} {_number(lesions[name])}" for name in ("precision", "recall", "f1") if name in lesions)
    table = ["| figure | mean | median | 95 % interval of the mean |", "| --- | --- | --- | --- |", *rows]
    found = [f"Lesions: {counts}; {ratios}.", ""] if lesions else []
    return ["## Figures", "", head, "", *table, "", *found, *_detection(figures.get("detection") or {})]


def _privacy(about: Mapping[str, Any]) -> list[str]:
    """What was promised to the patients of the training, and what was measured; see docs/privacy.md of segpipe."""
    promised = [_cell(line) for line in guarantee(about.get(PRIVACY))]
    lines = [*promised, *([""] if promised else []), *_guessed(about.get("membership"))]
    return ["## Privacy", "", *lines] if lines else []


def _guessed(membership: Mapping[str, Any] | None) -> list[str]:
    """How well cases of the training were guessed."""
    if not membership:
        return []
    cases = membership.get("cases") or {}
    found = f"AUC {_number(membership.get('auc'))} ({_interval(membership.get('ci95'))})"
    trained, held_out = (_cell(cases.get(name, "?")) for name in ("trained_on", "held_out"))
    where = f"{trained} cases of the training against {held_out} held-out ones"
    return [
        f"Cases of the training were guessed by a {_cell(membership.get('attack', '?'))}: {found}, {where}.",
        "0.5 is a guess without any knowledge. A better attack may find more.",
        "",
    ]


def _detection(detection: Mapping[str, Any]) -> list[str]:
    """CPM and average precision, which belong to the probabilities and to no operating point."""
    titles = {"cpm": "CPM", "average_precision": "average precision"}
    known = [
        f"{title} {_number(detection[name])} ({_interval(detection.get(f'{name}_ci95'))})"
        for name, title in titles.items()
        if name in detection
    ]
    line = [f"Detection by overlap, at any operating point: {', '.join(known)}.", ""] if known else []
    return [*line, *_by_diameter(detection.get("by_diameter") or {})]


def _by_diameter(sizes: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Sensitivity along the FROC for the lesions of each diameter, and its mean."""
    if not sizes:
        return []
    rates = list(next(iter(sizes.values()))["sensitivity_at_fp_per_scan"])
    head = ["diameter", "lesions", *(f"at {rate}" for rate in rates), "mean", "95 % interval"]
    rows = [[_cell(size), *_cells_of_size(row)] for size, row in sizes.items()]
    table = [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]
    return ["Sensitivity by the longest diameter, at so many false positives a scan:", "", *table, ""]


def _cells_of_size(row: Mapping[str, Any]) -> Iterator[str]:
    yield _cell(row["lesions"])
    yield from map(_number, row["sensitivity_at_fp_per_scan"].values())
    yield from (_number(row.get("cpm")), _interval(row.get("cpm_ci95")))


def _figure_row(title: str, row: Mapping[str, Any]) -> str:
    return f"| {title} | {_number(row.get('mean'))} | {_number(row.get('median'))} | {_interval(row.get('ci95'))} |"


def _interval(bounds: Sequence[Any] | None) -> str:
    return f"{_number(bounds[0])} … {_number(bounds[1])}" if bounds else "undefined"


def _point_rows(release: Release) -> Iterator[tuple[str, object]]:
    for name, point in (release.class_points or {"": release.operating_point}).items():
        yield from _rows_of_point(point, f"{name}: " if name else "")
    yield "test-time flips", ", ".join("xyz"[axis] for axis in release.flips) or "none"
    if not release.one_pass:
        yield "overlap of neighbouring windows", f"{release.overlap:g}"


def _rows_of_point(point: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, object]]:
    yield f"{prefix}threshold of the probability", f"{float(point.get('threshold', 0.5)):g}"
    yield f"{prefix}smallest lesion, mm³", f"{float(point.get('min_volume_mm3', 0)):g}"
    yield f"{prefix}lowest mean probability of a lesion", f"{float(point.get('min_probability', 0)):g}"
    if origin := point.get("origin"):
        yield f"{prefix}origin", origin


def _confidence_rows(known: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    """What is known of the model's confidence; see docs/uncertainty.md of segpipe."""
    if findings := known.get("findings"):
        odds = f"{findings['slope']:.3f} · log odds of its mean probability {findings['intercept']:+.3f}"
        yield "log odds that a finding is right", odds
        yield "right", findings["event"]
    if voxels := known.get("voxels"):
        yield "temperature of the probability of voxels", f"{voxels['temperature']:.3f}"
    if refer := known.get("refer"):
        kept = f"mean Dice {_number(refer['dice_kept'])} of the others, {_number(refer['dice_referred'])} of these"
        yield "refer to a human", f"below {refer['below']:.3f}: {refer['share']:.0%} of the findings; {kept}"
    for size in (known.get("volume") or {}).get("classes", []):
        span = f"{size['low']:.2f} to {size['high']:.2f} of the found volume ({size['patients']} patients)"
        yield f"{known['volume']['coverage']:.0%} interval of volume, from {size['from_mm3']:g} mm³ found", span
    if known:
        yield "origin", known["origin"]


def _second_stage(release: Release) -> list[str]:
    """What looks again at what the network finds."""
    if release.second_stage is None:
        return []
    spec = release.second_stage.spec
    sides = " × ".join(map(str, spec.crop.sides))
    several = f"{spec.members} networks, of which the mean counts" if spec.members > 1 else "one network"
    return [
        "## Second stage",
        "",
        f"`{STAGE_WEIGHTS}` and `{STAGE_ONNX}` look again at each candidate ({several}):",
        f"at a crop of {sides} voxels at the spacing above (`{INPUTS[0]}`: the scan from −1 to 1, the probability) and",
        f"the candidate's largest probability (`{INPUTS[1]}`). The answer (`{CONFIDENCE}`) is its confidence, which",
        "orders candidates and says which lesions are findings; no voxel of a finding's mask depends on it.",
        "segpipe runs it; MONAI's bundle and other tools see the first stage alone, and so more false findings.",
        "",
    ]


def _limits(release: Release) -> list[str]:
    recipe = release.recipe
    lines = [
        "## Limits",
        "",
        "- Chest CT of adults only. Scanners, kernels, slice thicknesses and contrast phases that the training data",
        "  lacks can change the result.",
        f"- It finds what was marked as {_cell(recipe.label)} in the training data, and errs like those who marked it.",
        "- A lesion that is not marked may still be there. A radiologist must look at every scan.",
    ]
    if recipe.scope == "scan":
        lines.append("- segpipe searches windows with lung; the bundle that MONAI runs searches the whole scan.")
    if release.on_phantom:
        lines.append("- It has never seen a patient. Use it to try the tools, for nothing else.")
    if release.fixed_shape:
        size = " × ".join(map(str, release.fixed_shape))
        lines.append(f"- The ONNX model takes windows of {size} voxels only, in batches of any size.")
    return [*lines, ""]


def _use(release: Release, parity: Parity) -> list[str]:
    shapes = " and ".join("×".join(map(str, shape)) for shape in parity.shapes)
    return [
        "## Use",
        "",
        "    python -m segpipe predict --model . --input SCAN --output DIR",
        "    python -m monai.bundle run --config_file configs/inference.json --dataset_dir SCANS --output_dir DIR",
        "",
        "The second command needs no segpipe, only MONAI and the packages in `configs/metadata.json`; it reads NIfTI.",
        *_program(release),
        f"`{WEIGHTS}` holds the weights, `{ONNX}` the network (input `{INPUT}`, output `{OUTPUT}`), whose",
        f"softmax differs from PyTorch's by {parity.largest:.1e} at most (inputs of {shapes}).",
        f"`{INDEX}` holds every number and the SHA-256 of every file. Written by segpipe {__version__}.",
    ]


def _program(release: Release) -> list[str]:
    """What becomes of a network that segpipe does not have: none of its code is needed, and none is imported."""
    if release.shipped:
        return []
    return [
        f"`{ONNX}` is what segpipe runs, since the network ({_cell(release.network_name)}) comes from another package.",
        f"`{PROGRAM}` is the same for `torch.export.load`, which runs what the file says: open it only if you trust",
        "whoever wrote it.",
    ]


def _section(title: str, rows: Iterator[tuple[str, object]]) -> list[str]:
    table = [f"| {_cell(name)} | {_cell(value)} |" for name, value in rows]
    return [f"## {title}", "", "| | |", "| --- | --- |", *table, ""] if table else []


def _number(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    return "undefined" if value is None else _cell(value)


def _cell(value: object) -> str:
    """A text as a cell of a table in Markdown, in which it starts neither a cell, a line nor HTML."""
    return " ".join(escape(str(value), quote=False).replace("|", "\\|").split())
