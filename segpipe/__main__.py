"""The command line: finds the verb and hands over; heavy imports wait until a verb needs them."""

import shlex
import sys
from importlib import import_module

from segpipe import __version__
from segpipe.errors import SegpipeError, explain
from segpipe.system.stopping import Stopped, check_stop, stoppable

VERBS = {
    "train": "train, evaluate and export; the default verb, speaks Hydra: +experiment=lung_nodule optimizer.lr=1e-3",
    "ingest": "turn DICOM, NIfTI, LIDC, LUNA16, MSD or nnU-Net data into a data set; check it; plan a training",
    "predict": "segment scans with a model folder",
    "serve": "answer the chest CT series of a PACS with segmentation and report",
    "evaluate": "compare masks with references",
    "compare": "say which of several runs is better, by how much, and whether it is luck",
    "export": "write the model folder of a finished run again",
}


def main(argv: list[str] | None = None) -> int:
    """Runs one verb; returns the exit code (0 done, 2 a mistake that the message explains, 130 or 143 stopped)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_help())
        return 0
    if arguments[0] == "--version":
        print(f"segpipe {__version__}")
        return 0
    words = list(arguments)
    try:
        with stoppable():
            verb = arguments.pop(0) if arguments[0] in VERBS else _default_verb(arguments[0])
            code = int(import_module(f"segpipe.cli.{verb}").run(arguments))
            if code:
                check_stop()  # a step that was stopped may have ended as one that failed
            return code
    except SegpipeError as error:
        print(explain(error), file=sys.stderr)
        return error.exit_code
    except Stopped as stop:
        command = shlex.join(["python", "-m", "segpipe", *(stop.command or words)])
        print(f"stopped by {stop.name}; to go on: {command}", file=sys.stderr)
        return stop.exit_code


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
    sys.exit(main())
