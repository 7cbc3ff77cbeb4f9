"""What a GPU gives: steps next to nnU-Net's, a whole thorax, ONNX, loading, a plan, other layouts; in one table.

    python benchmarks/gpu/gpu.py [--only steps predict onnx loader plan layouts] [--seconds 290]
    python benchmarks/gpu/gpu.py --device cpu --small

Needs no network and nothing but what `gpu.md` lists. A part that fails says so in its line, and the others go on; parts
that would begin after `--seconds` are left out. `--small` computes tiny sizes, which only show that all of it works.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator

import gpu_loader
import gpu_onnx
import gpu_plan
import gpu_predict
import gpu_steps
import torch
from gpu_sizes import FULL, SMALL, Row, Sizes

Part = Callable[[torch.device, Sizes], Iterator[Row]]
FAILED, WIDTH = "FAILED", 72
PARTS: dict[str, Part] = {
    "steps": gpu_steps.rows,
    "predict": gpu_predict.rows,
    "onnx": gpu_onnx.rows,
    "loader": gpu_loader.rows,
    "plan": gpu_plan.rows,
    "layouts": gpu_steps.layout_rows,
}


def main() -> None:
    """Prints the table, line by line; ends with 1 when a part failed."""
    options = _parse()
    device, sizes = torch.device(options.device), SMALL if options.small else FULL
    end = time.perf_counter() + options.seconds
    name = torch.cuda.get_device_name() if device.type == "cuda" else device.type
    print(f"{name}, torch {torch.__version__}, sizes: {sizes.name}")
    failed = False
    for part in options.only:
        begin = time.perf_counter()
        for row in _attempt(PARTS[part], device, sizes):
            print(f"{part:<8} {row.what:<{WIDTH}} {row.figure}", flush=True)
            failed = failed or row.what == FAILED
            if time.perf_counter() > end:
                sys.exit(f"{options.seconds:.0f} s are over; what is missing: --only {part} …")
        print(f"{part:<8} {'':<{WIDTH}} took {time.perf_counter() - begin:.0f} s", flush=True)
    sys.exit(int(failed))


def _attempt(part: Part, device: torch.device, sizes: Sizes) -> Iterator[Row]:
    """The lines of a part; where it fails, one that says of what."""
    try:
        yield from part(device, sizes)
    except Exception as error:
        yield Row(FAILED, f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--small", action="store_true", help="tiny sizes, which say nothing about speed")
    parser.add_argument("--only", nargs="+", choices=tuple(PARTS), default=list(PARTS))
    parser.add_argument("--seconds", type=float, default=290.0, help="after which no further line is begun")
    return parser.parse_args()


if __name__ == "__main__":
    main()
