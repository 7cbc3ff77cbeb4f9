"""How long `serve --interactive` takes to open a scan and to answer, as a viewer on the same machine sees it.

    python benchmarks/interactive.py MODEL SCAN --at x,y,z

The scan is sent, then the lesion at the point is asked for, corrected by points around it, and taken back step by step.
SCAN is an image file, or a zip file with one DICOM series. Run it on idle cores.
"""

import argparse
import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

APART_MM = 6.0


def main() -> None:
    """Prints the times."""
    options = _parse()
    at = np.array([float(number) for number in options.at.split(",")])
    with service(options.model) as address:
        name = options.scan.name
        ending = next(end for end in (".nii.gz", Path(name).suffix) if name.endswith(end))
        scan = options.scan.read_bytes()
        opened = call(f"open ({len(scan) / 1e6:.0f} MB)", f"{address}/sessions/scan?ending={ending}", scan)
        session = f"{address}/sessions/{opened['session']}"
        answer = call("first point", f"{session}/prompts", {"positives": [at.tolist()]})
        for way in (*np.eye(3), *-np.eye(3)):
            point = (at + APART_MM * way).tolist()
            answer = call("correction", f"{session}/prompts", {"negatives": [point]})
        while answer["steps"] > 1:
            answer = call("undo", f"{session}/undo", {})
    print(
        f"{answer['findings'][0]['volume_mm3']:.0f} mm³ at the point" if answer["findings"] else "nothing at the point"
    )


@contextmanager
def service(model: Path) -> Iterator[str]:
    """The address of a service that runs until the end of the block."""
    words = [sys.executable, "-m", "segpipe", "serve", "--interactive", "--model", str(model), "--port", "0"]
    begin = time.perf_counter()
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        print(f"{'start':<20}{time.perf_counter() - begin:8.2f} s")
        try:
            yield line.split()[-1]
        finally:
            process.terminate()


def call(what: str, address: str, content: Any) -> Any:
    """The answer; prints how long it took."""
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    begin = time.perf_counter()
    request = urllib.request.Request(address, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        body = answer.read()
    print(f"{what:<20}{time.perf_counter() - begin:8.2f} s{len(body) / 1e3:8.1f} kB")
    return json.loads(body)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, metavar="MODEL", help="a model of single lesions")
    parser.add_argument("scan", type=Path, metavar="SCAN", help="an image file or a zip file of a series")
    parser.add_argument("--at", required=True, metavar="x,y,z", help="in the lesion, RAS+ mm")
    options, more = parser.parse_known_args()
    if more:
        parser.error(f"unknown: {' '.join(more)}; a point that begins with a minus needs --at=x,y,z")
    return options


if __name__ == "__main__":
    main()
