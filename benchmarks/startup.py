"""How long the first contact takes: `--help` against a bare interpreter and against importing torch, in one run.

python benchmarks/startup.py
"""

import statistics
import subprocess
import sys
import time

COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "python -m segpipe --help": [sys.executable, "-m", "segpipe", "--help"],
    "python -c 'import torch'": [sys.executable, "-c", "import torch"],
}
LIMIT_S = 1.0


def measure(command: list[str], rounds: int = 7) -> float:
    """Median wall seconds of a command after one warm-up."""
    seconds = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:])


def main() -> None:
    """Prints the medians and the ratio to the limit."""
    medians = {name: measure(command) for name, command in COMMANDS.items()}
    for name, seconds in medians.items():
        print(f"{name:28} {seconds:6.3f} s")
    own = medians["python -m segpipe --help"]
    print(f"--help / limit of {LIMIT_S:g} s:   {own / LIMIT_S:.2f}")
    print(f"--help / import torch:   {own / list(medians.values())[-1]:.2f}")


if __name__ == "__main__":
    main()
