"""Two processes next to each other on the same cores, as PyTorch does it by itself and as segpipe does.

    python benchmarks/neighbours.py [--rounds 2]

Each line is one piece of work, alone and in two processes at once (the slower one), and their ratio: 2 is a fair share.
The last lines say what the setting costs alone, and that both give the same numbers. On an idle machine two minutes.
"""

import argparse
import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext

WORK = {"predict": 150, "train": 8}  # VOI crops one by one; steps of eight of them
TRIES = {True: "segpipe", False: "PyTorch"}
SETTLED = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


class Worker:
    """A process that does one piece of work whenever it is asked to."""

    def __init__(self, work: str, settled: bool) -> None:
        environment = {name: value for name, value in os.environ.items() if name not in SETTLED}
        words = [sys.executable, __file__, "--work", work, *(["--settled"] if settled else [])]
        self.process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.digest = self.answer()

    def ask(self) -> None:
        """Begins the work."""
        assert self.process.stdin
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def answer(self) -> str:
        """What the process has printed."""
        assert self.process.stdout
        return self.process.stdout.readline().strip()


def measure(workers: list[Worker]) -> float:
    """Seconds until all have done their work."""
    for worker in workers:
        worker.ask()
    return max(float(worker.answer()) for worker in workers)


def compare(work: str, rounds: int) -> None:
    """Prints both ways of one kind of work, and what sets them apart; the least of rounds that alternate counts."""
    pairs = {name: [Worker(work, settled) for _ in range(2)] for settled, name in TRIES.items()}
    alone = [{name: measure(pair[:1]) for name, pair in pairs.items()} for _ in range(2 * rounds)]
    both = [{name: measure(pair) for name, pair in pairs.items()} for _ in range(rounds)]
    least = {name: min(seconds[name] for seconds in alone) for name in pairs}
    for name, pair in pairs.items():
        at_once = min(seconds[name] for seconds in both)
        times = f"alone {least[name]:6.2f} s   two at once {at_once:6.2f} s   {at_once / least[name]:5.2f} ×"
        print(f"{work:8} {name:8} {times}")
        for worker in pair:
            worker.process.communicate()
    same = "the same numbers" if len({pair[0].digest for pair in pairs.values()}) == 1 else "DIFFERENT NUMBERS"
    print(f"{work:8} segpipe costs {least['segpipe'] / least['PyTorch'] - 1:+.0%} alone; {same}\n", flush=True)


def serve(work: str, settled: bool) -> None:
    """The other side of `Worker`: prints a digest of what it computes, then the seconds of each round."""
    if settled:
        from segpipe.system.machine.threads import settle_threads

        settle_threads()  # before torch is imported
    step, digest = prepare(work, settled)
    for _ in range(3):
        step()
    print(digest(), flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        for _ in range(WORK[work]):
            step()
        print(time.perf_counter() - start, flush=True)


def prepare(work: str, settled: bool) -> tuple[Callable[[], object], Callable[[], str]]:
    """One step of the work, and a digest of the weights or of what is predicted."""
    import torch
    from monai.networks.nets import UNet

    from segpipe.system.machine.turns import take_turn

    torch.manual_seed(0)
    network = UNet(3, 1, 2, (16, 32, 64, 128), (2, 2, 2), num_res_units=2).train(work == "train")
    crops = torch.randn(8 if work == "train" else 1, 1, 48, 48, 16)
    optimizer = torch.optim.AdamW(network.parameters())
    half = torch.autocast("cpu", torch.bfloat16)

    def train() -> None:
        with take_turn(torch.get_num_threads()) if settled else nullcontext():
            with half:
                loss = network(crops).float().square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    @torch.inference_mode()
    def predict() -> torch.Tensor:
        with take_turn(torch.get_num_threads()) if settled else nullcontext(), half:
            logits: torch.Tensor = network(crops)
        return logits.float()

    def digest() -> str:
        values = predict() if work == "predict" else torch.nn.utils.parameters_to_vector(network.parameters())
        return hashlib.sha256(values.detach().numpy().tobytes()).hexdigest()

    return (train if work == "train" else predict), digest


def main() -> None:
    """Prints what two processes at once take, as multiples of one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--work", choices=WORK, help=argparse.SUPPRESS)
    parser.add_argument("--settled", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        serve(arguments.work, arguments.settled)
        return
    for work in WORK:
        compare(work, arguments.rounds)


if __name__ == "__main__":
    main()
