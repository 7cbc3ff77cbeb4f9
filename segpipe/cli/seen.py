"""`python -m segpipe seen`: which of the cases that somebody has a model was trained on."""

import argparse
import sys
from pathlib import Path

from segpipe.cli.common.flags import VerbParser
from segpipe.cli.common.model_flags import add_model_flag, read_verify_key
from segpipe.errors import explain, merge_alike


def run(argv: list[str]) -> int:
    """Answers; returns 0, or 2 when cases could not be read."""
    given = _parser().parse_args(argv)
    from segpipe.evaluation.text_summary import align
    from segpipe.export.model_folder import read_model_folder
    from segpipe.export.seen_cases import IN_WORDS, describe_seen
    from segpipe.pipelines.seen_cases import ask

    model = read_model_folder(given.model, key=read_verify_key(given))
    answer = ask(model, given.input)
    for error in merge_alike(answer.errors):
        print(explain(error), file=sys.stderr)
    rows = [(name, IN_WORDS[role] if role else "not listed") for name, role in answer.roles.items()]
    print("\n".join([*(align(rows) if rows else []), describe_seen(answer.counts)]))
    if "init" in model.about:
        lineage = model.about["init"].get("lineage", "another model")
        print(f"its weights began with {lineage}, whose cases are in the answer if it listed them")
    return 2 if answer.errors else 0


def _parser() -> argparse.ArgumentParser:
    parser = VerbParser("seen", description="Says which scans a model was trained on, by their voxels (SECURITY.md).")
    add_model_flag(parser.add_argument)
    help_text = "a data set folder; or an image file, a folder of them, or DICOM (folder, zip file or DICOMDIR)"
    parser.add_argument("--input", required=True, type=Path, metavar="PATH", help=help_text)
    return parser
