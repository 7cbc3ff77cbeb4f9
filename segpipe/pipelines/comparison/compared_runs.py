"""What `compare` compares: runs and evaluations wherever they lie, with what is known of their masks and models."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from segpipe.errors import DatasetError
from segpipe.evaluation.reading import Evaluation, build_evaluation, read_evaluation
from segpipe.tracking.identity import read_run_id

_RUN_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class ComparedRun:
    """One side of a comparison.

    Args:
        evaluation: Its figures.
        masks: Folders of its predicted masks: none where they were not kept, one for each fold of a cross-validation.
        run_folder: The folder of its run, or None.
        run_id: Its MLflow run, or None.
    """

    evaluation: Evaluation
    masks: tuple[Path, ...] = ()
    run_folder: Path | None = None
    run_id: str | None = None

    @property
    def name(self) -> str:
        """What it is called."""
        return self.evaluation.name

    @property
    def model(self) -> Path | None:
        """The model folder in its run's folder, or None."""
        folder = self.run_folder / "model" if self.run_folder else None
        return folder if folder and folder.is_dir() else None


def find_compared_runs(words: Sequence[str], *, uri: str) -> list[ComparedRun]:
    """Finds what each word names: a folder of a run or of an evaluation, or an MLflow run.

    Args:
        words: Paths and MLflow run ids.
        uri: The MLflow server or database.

    Raises:
        DatasetError: when a word names nothing, or a folder has no evaluation.
        ServiceError: when the server does not know a run.
    """
    found = [_find(word, uri) for word in words]
    counts = Counter(compared_run.name for compared_run in found)
    twice = {name for name, count in counts.items() if count > 1}
    return [_renamed(one, _distinct(one, number)) if one.name in twice else one for number, one in enumerate(found)]


def _find(word: str, uri: str) -> ComparedRun:
    folder = Path(word).expanduser()
    if folder.is_dir():
        return _from_folder(folder.resolve())
    if _RUN_ID.fullmatch(word):
        from segpipe.tracking.fetching import fetch_evaluation

        tracked = fetch_evaluation(word, uri=uri)
        evaluation = build_evaluation(tracked.name, tracked.summary, tracked.cases, tracked.lesions)
        return ComparedRun(evaluation, run_id=word)
    raise DatasetError(
        "a run to compare must be a folder or an MLflow run id",
        facts={"found": word},
        hint="a folder runs/EXPERIMENT/DATE_TIME, or the 32 letters in the address of the run's page",
    )


def _from_folder(folder: Path) -> ComparedRun:
    inside = folder / "evaluation"
    if (inside / "summary.json").is_file():
        own, run = inside, folder
    elif (folder / "summary.json").is_file():
        own = folder
        run = folder.parent if folder.name == "evaluation" else folder
    else:
        raise _no_evaluation(folder)
    is_run = (run / "config.yaml").is_file()
    return ComparedRun(
        read_evaluation(own, name=_name(run)),
        masks=tuple(
            folder for folder in (own / "masks", *sorted(run.glob("fold_*/evaluation/masks"))) if folder.is_dir()
        ),
        run_folder=run if is_run else None,
        run_id=read_run_id(run) if is_run else None,
    )


def _no_evaluation(folder: Path) -> DatasetError:
    inner = sorted(str(file.parents[1].relative_to(folder)) for file in folder.glob("*/evaluation/summary.json"))
    if inner:
        shown = ", ".join(inner[:4]) + (", …" if len(inner) > 4 else "")
        return DatasetError(
            "the folder holds runs and has no evaluation of its own",
            facts={"folder": folder, "runs": shown},
            hint=f"compare its runs, e.g. {folder / inner[0]}",
        )
    return DatasetError(
        "the folder has no evaluation",
        facts={"folder": folder, "looked for": "evaluation/summary.json and summary.json"},
        hint="python -m segpipe evaluate makes one of masks or of a model",
    )


def _name(run: Path) -> str:
    """The folder's name; jobs of a sweep, which are numbers, are named with their sweep."""
    return f"{run.parent.name}/{run.name}" if run.name.isdigit() else run.name


def _distinct(compared_run: ComparedRun, number: int) -> str:
    more = compared_run.run_id[:8] if compared_run.run_id else chr(ord("A") + number % 26)
    return f"{compared_run.name} ({more})"


def _renamed(compared_run: ComparedRun, name: str) -> ComparedRun:
    return replace(compared_run, evaluation=replace(compared_run.evaluation, name=name))
