"""Throughput of a training with 1 and 2 processes here, where a step's time goes, and what that means for more of them.

    python benchmarks/training/scaling.py [--steps 20] [--bandwidth 100] [--latency 10] [--step-ms 250] [key=value ...]

Measured are trainings of the phantom (`torchrun --nproc-per-node 2`, gloo on a CPU), with one thread in each process.
On paper, for 8, 64 and 512 processes, the bytes that were reduced go round a ring in
2 (p − 1) / p · bytes / bandwidth + 2 (p − 1) · latency (Patarasuk and Yuan, doi 10.1016/j.jpdc.2008.09.002): once with
nothing of it hidden, once with all hidden that fits behind the backward pass. Each process keeps its batch.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RANKS = (1, 2)
ON_PAPER = (8, 64, 512)
JOB = Path(__file__).with_name("scaling_job.py")


@dataclass(frozen=True)
class Network:
    """What joins the processes.

    Args:
        bytes_per_second: In each direction, of one process.
        latency_s: Of one message.
    """

    bytes_per_second: float
    latency_s: float

    def ring_s(self, ranks: int, count: float) -> float:
        """Seconds in which a ring of processes sums `count` bytes.

        >>> Network(1e9, 0.5).ring_s(2, 1e9), Network(1e9, 0.0).ring_s(4, 1e9), Network(1e9, 1.0).ring_s(1, 1e9)
        (2.0, 1.5, 0.0)
        """
        return 2 * (ranks - 1) / ranks * count / self.bytes_per_second + 2 * (ranks - 1) * self.latency_s


def efficiency(ranks: int, *, step_s: float, hidden_s: float, count: float, network: Network) -> float:
    """Throughput over that of as many processes that need not talk.

    Args:
        ranks: Processes.
        step_s: Seconds of a step without communication.
        hidden_s: Seconds of communication that go on behind it.
        count: Bytes that are reduced in a step.
        network: What joins the processes.

    >>> efficiency(2, step_s=3.0, hidden_s=1.0, count=2e9, network=Network(1e9, 0.0))
    0.75
    """
    return step_s / (step_s + max(network.ring_s(ranks, count) - hidden_s, 0.0))


def main() -> None:
    """Measures, prints where the time of a step goes, and what to expect of more processes."""
    options, words = _parse()
    found = {ranks: _measure(ranks, options.steps, words) for ranks in RANKS}
    for ranks, facts in found.items():
        print(_describe(ranks, facts))
    one, two = (found[ranks] for ranks in RANKS)
    print(f"2 processes take {two['samples_per_s'] / one['samples_per_s']:.2f} times the samples of one")
    print()
    step_s = options.step_ms / 1000 if options.step_ms else one["step_s"]
    network = Network(options.bandwidth * 1e9 / 8, options.latency * 1e-6)
    print("on paper, if loading and logging keep their shares, and one ring has no faster links within a machine:")
    megabytes = two["bytes"] / 2**20
    print(f"a step of {1000 * step_s:.0f} ms, {one['backward']:.0%} of it backward; {megabytes:.1f} MB to reduce;")
    print(f"{options.bandwidth:g} Gbit/s each way, {options.latency:g} µs a message")
    for ranks in ON_PAPER:
        given = {"step_s": step_s, "count": two["bytes"], "network": network}
        worst = efficiency(ranks, hidden_s=0.0, **given)
        best = efficiency(ranks, hidden_s=one["backward"] * step_s, **given)
        ring = 1000 * network.ring_s(ranks, two["bytes"])
        print(f"{ranks:4d} processes: {ring:8.1f} ms to reduce, {worst:.1%} to {best:.1%} of perfect scaling")


def _describe(ranks: int, facts: Mapping[str, Any]) -> str:
    shares = {name: facts[name] for name in ("forward", "backward", "communication", "loading", "logging")}
    shares["rest"] = 1 - sum(shares.values())
    text = ", ".join(f"{name} {share:.1%}" for name, share in shares.items())
    speed = f"{facts['samples_per_s']:.2f} samples/s, {1000 * facts['step_s']:.0f} ms a step"
    return f"{ranks} process{'es' if ranks > 1 else ''}: {speed}: {text}"


def _measure(ranks: int, steps: int, words: list[str]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "facts.json"
        strategy = ["trainer=ddp", f"trainer.devices={ranks}"] if ranks > 1 else []
        data = [] if any(word.startswith("data=") for word in words) else ["data.cases=8"]
        given = [f"trainer.max_steps={steps}", f"training.validate_every={steps}", *data, *strategy, *words]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
        subprocess.run([*launcher, str(JOB), str(file), *given], check=True, env=environment)
        facts: dict[str, Any] = json.loads(file.read_text())
        return facts


def _parse() -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--bandwidth", type=float, default=100.0, help="Gbit/s between machines, each way")
    parser.add_argument("--latency", type=float, default=10.0, help="µs of a message")
    parser.add_argument("--step-ms", type=float, help="of a GPU, say, in place of the step measured here")
    return parser.parse_known_args()


if __name__ == "__main__":
    main()
