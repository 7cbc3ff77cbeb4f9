"""Draws the nodule at a point as a model that rides in the package outlines it.

python shipping/picture.py SCAN --at x,y,z --output docs/images/nodule.png
"""

import argparse
from pathlib import Path

import segpipe
from segpipe.cli.predict.prompt_flags import parse_points
from segpipe.inference.loaded_model import find_only_scan
from segpipe.report.overlays import overlay
from segpipe.report.style import to_png


def main() -> None:
    """Predicts and draws."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scan", type=Path)
    parser.add_argument("--at", required=True, type=parse_points, metavar="X,Y,Z", help="RAS+ mm")
    parser.add_argument("--model", default="lidc-voi", metavar="MODEL")
    parser.add_argument("--output", required=True, type=Path, metavar="PNG")
    given = parser.parse_args()
    (point,) = given.at
    found = segpipe.predict(given.scan, given.model, at_mm=point.place)
    (finding,) = found.findings
    sizes = f"{finding.axial_diameter_mm:.1f} × {finding.perpendicular_diameter_mm:.1f} mm"
    title = f"{sizes}, {finding.volume_mm3:,.0f} mm³"
    given.output.write_bytes(to_png(overlay(find_only_scan(given.scan).read_case(), found.mask, title)))
    print(finding.to_dict())


if __name__ == "__main__":
    main()
