"""The command line: finds the verb and hands over; heavy imports wait until a verb needs them."""

import gc
import logging
import os
import shlex
import sys
from importlib import import_module

from segpipe import __version__
from segpipe.errors import SegpipeError, explain
from segpipe.system.machine.threads import settle_threads
from segpipe.system.processes.stopping import Stopped, check_stop, stoppable

VERBS = {
    "train": "train, evaluate and export; the default verb, speaks Hydra: +experiment=lung_nodule optimizer.lr=1e-3",
    "ingest": "turn DICOM, NIfTI, LIDC, LUNA16, MSD or nnU-Net data into a data set; check it; plan a training",
    "predict": "segment scans with a model folder",
    "serve": "answer the chest CT series of a PACS with segmentation and report",
    "evaluate": "compare masks with references",
    "merge": "make one result of what predict, evaluate or ingest did in shards",
    "compare": "say which of several runs is better, by how much, and whether it is luck",
    "choose": "take the best of several cross-validated runs, or their ensemble, and export it as one model",
    "drift": "say whether new scans are like those that a model was evaluated on",
    "robustness": "say how much a model loses on noisier, blurred, moved or otherwise worse scans",
    "export": "write the model folder of a finished run again",
    "sign": "sign a model folder, so that others can verify who answers for it",
    "seen": "say which scans a model was trained on, for whoever has them",
    "sync": "send MLflow what an outage kept from it, and end the runs there that were killed",
}

COLLECT_AFTER = 10_000
"""New objects after which Python looks for garbage. After 700, its default, it searches all that the libraries hold
again and again while they are imported, which is a seventh of a start."""

_SHOWN: tuple[list[str], ...] = ([], ["-h"], ["--help"], ["help"], ["--version"])


def main(argv: list[str] | None = None) -> int:
    """Runs one verb; returns the exit code: 0 done, 2 a mistake that the message explains, 128 + n by signal n."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        code = _show(words) if words[:1] in _SHOWN else _run(words)
        sys.stdout.flush()
        return code
    except SegpipeError as error:
        print(explain(error), file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        return _nobody_reads()
    except Stopped as stop:
        command = shlex.join(["python", "-m", "segpipe", *(stop.command or words)])
        print(f"stopped by {stop.name}; to go on: {command}", file=sys.stderr)
        return stop.exit_code


def _show(words: list[str]) -> int:
    print(f"segpipe {__version__}" if words[:1] == ["--version"] else _help())
    return 0


def _run(words: list[str]) -> int:
    settle_threads()
    with stoppable():
        verb, rest = (words[0], words[1:]) if words[0] in VERBS else (_default_verb(words[0]), words)
        code = int(import_module(f"segpipe.cli.{verb}").run(rest))
        if code:
            check_stop()  # a step that was stopped may have ended as one that failed
        return code


def _nobody_reads() -> int:
    """Ends quietly, as programs do whose output goes to `head`; what is still to be written goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 128 + 13  # of SIGPIPE


def _default_verb(word: str) -> str:
    if "=" in word or word.startswith(("-", "+", "~")):
        return "train"
    from segpipe.errors import ConfigError
    from segpipe.spelling import nearest

    near = nearest(word, VERBS)
    raise ConfigError(
        f"unknown verb «{word}»",
        facts={"known": ", ".join(VERBS)},
        hint=f"python -m segpipe {near}" if near else "python -m segpipe --help",
    )


def _help() -> str:
    from segpipe.config.folder import experiments

    width = max(map(len, [*VERBS, *experiments()]))
    verbs = [f"  {name:<{width}}  {text}" for name, text in VERBS.items()]
    known = [f"  {name:<{width}}  {text}" for name, text in experiments().items()]
    return "\n".join(
        [
            f"segpipe {__version__}: lung nodule and lung tumour segmentation in CT; not a medical device",
            "",
            "usage: python -m segpipe [VERB] [OPTIONS]     python -m segpipe VERB --help",
            "",
            "verbs",
            *verbs,
            "",
            "experiments (python -m segpipe +experiment=NAME [key=value …])",
            *known,
        ]
    )


if __name__ == "__main__":
    gc.set_threshold(COLLECT_AFTER)
    logging.raiseExceptions = False  # a line of the log that nobody reads any more is no error
    sys.exit(main())
