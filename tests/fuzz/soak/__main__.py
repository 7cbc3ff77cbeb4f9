"""`python -m tests.fuzz.soak`: a table of what readers did with mutated inputs; ends with 1 where there was a fault."""

import argparse
import sys
import time
from collections.abc import Sequence

from tests.fuzz.soak.child import Outcome, run_reader
from tests.fuzz.soak.reader import Reader
from tests.fuzz.soak.readers import READERS


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the readers one after the other; returns 1 where any input made one fail."""
    given = _parser().parse_args(argv)
    chosen = [reader for reader in READERS if reader.name in (given.reader or [one.name for one in READERS])]
    until = time.monotonic() + 60 * given.minutes
    print(
        f"{'reader':<22}{'inputs':>9}{'read':>9}{'refused':>9}{'faults':>8}{'a second':>10}{'MiB more':>10}", flush=True
    )
    total, faults = 0, 0
    for reader, count in share_out(chosen, given.inputs).items():
        outcome = run_reader(reader, range(given.start, given.start + count), seed=given.seed, until=until)
        _print(reader, outcome, given.seed)
        total, faults = total + outcome.inputs, faults + outcome.times.total()
    print(f"{'all':<22}{total:>9,}   {faults} faults   seed {given.seed}", flush=True)
    return int(faults > 0)


def share_out(readers: Sequence[Reader], inputs: int) -> dict[Reader, int]:
    """How many inputs each reader gets, by their shares; together as many as there are."""
    parts, counts, done = sum(reader.share for reader in readers), {}, 0
    for place, reader in enumerate(readers, start=1):
        end = round(inputs * sum(one.share for one in readers[:place]) / parts)
        counts[reader], done = end - done, end
    return counts


def _print(reader: Reader, outcome: Outcome, seed: int) -> None:
    rate = outcome.inputs / max(outcome.seconds, 1e-9)
    print(
        f"{reader.name:<22}{outcome.inputs:>9,}{outcome.read:>9,}{outcome.refused:>9,}{outcome.times.total():>8,}"
        f"{rate:>10,.0f}{outcome.peak_mib:>10.0f}",
        flush=True,
    )
    for what, number in outcome.faults.items():
        again = f"python -m tests.fuzz.soak --reader {reader.name} --seed {seed} --start {number} --inputs 1"
        print(f"  {outcome.times[what]} × {what}: {again}", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m tests.fuzz.soak", description=__doc__)
    parser.add_argument("--inputs", type=int, default=1_000_000, help="of all readers together")
    parser.add_argument("--reader", action="append", choices=[reader.name for reader in READERS], help="these alone")
    parser.add_argument("--seed", type=int, default=0, help="another one makes other inputs")
    parser.add_argument("--start", type=int, default=0, help="number of each reader's first input")
    parser.add_argument("--minutes", type=float, default=10_000, help="after which the run ends")
    return parser


if __name__ == "__main__":
    sys.exit(main())
