"""What a search has found so far, written anew after each trial: table, figures, the best trial as an experiment."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from segpipe.config.schema import Settings
from segpipe.config.sweeps.trials import read_study
from segpipe.pipelines.sweep import LOCK, tracked_sweep
from segpipe.report.search import draw_history, draw_importance, draw_parallel
from segpipe.report.style import to_png
from segpipe.system.files.atomic_write import atomic_write, write_text
from segpipe.system.files.csv_table import write_csv
from segpipe.tracking.harmless import harmless

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial

BEST = Path("experiment") / "best.yaml"
_ENOUGH = 5
"""Trials that came to their end, below which nothing is said of importance."""


def report_search(settings: Settings, sweep: Path) -> None:
    """Writes `search.csv`, figures and the best trial's experiment into the sweep's folder, and logs them."""
    with FileLock(sweep / LOCK):
        study = read_study(sweep)
        lines = [_line(trial) for trial in study.trials]
        files = [_write_table(lines, sweep), *_write_figures(study, sweep)]
        best = _best(study)
        if best:
            (sweep / BEST).parent.mkdir(exist_ok=True)
            package, _, body = str(best.user_attrs["experiment"]).partition("\n")
            text = f"{package}\n{_headline(best, study)}{body}"
            files.append(write_text(sweep / BEST, text, what="the best trial as an experiment"))
        with harmless("logging the search"), tracked_sweep(settings, sweep) as tracker:
            if tracker:
                tracker.log_metrics(_figures(study, best), step=len(lines))
                tracker.log_table([_text_line(line) for line in lines], "search")
                for file in files:
                    tracker.log_file(file)


def _line(trial: "FrozenTrial") -> dict[str, Any]:
    steps = max(trial.intermediate_values, default=0)
    facts = {"trial": trial.number, "state": trial.state.name.lower(), "figure": trial.value, "steps": steps}
    return {**facts, **trial.params}


def _text_line(line: Mapping[str, Any]) -> dict[str, str]:
    """A line in which each column has one type, whatever trials lack."""
    return {name: "" if value is None else str(value) for name, value in line.items()}


def _write_table(lines: Sequence[Mapping[str, Any]], sweep: Path) -> Path:
    columns = list(dict.fromkeys(name for line in lines for name in line))
    rows = [{column: line.get(column) for column in columns} for line in lines]
    return write_csv(sweep / "search.csv", rows, columns, what="the table of the search")


def _write_figures(study: "Study", sweep: Path) -> list[Path]:
    """Those for which there are trials enough."""
    done = [trial for trial in study.trials if trial.state.name == "COMPLETE"]
    objective, largest = str(study.user_attrs["objective"]), study.direction.name == "MAXIMIZE"
    known = [trial for trial in study.trials if trial.value is not None]
    points = {trial.number: (float(trial.value or 0), trial.state.name.lower()) for trial in known}
    pictures = {"history.png": draw_history(points, objective=objective, largest=largest)} if points else {}
    if len(done) > 1:
        rows = [(trial.params, trial.value) for trial in done if trial.value is not None]
        pictures["parallel.png"] = draw_parallel(rows, objective=objective, largest=largest)
    if len(done) >= _ENOUGH:
        pictures |= _importance(study, trials=len(done))
    files = []
    for name, picture in pictures.items():
        with atomic_write(sweep / name) as part:
            part.write_bytes(to_png(picture))
        files.append(sweep / name)
    return files


def _importance(study: "Study", *, trials: int) -> dict[str, Any]:
    """By PED-ANOVA (Watanabe et al., IJCAI 2023), which says nothing of trials that are all alike."""
    import optuna

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of trials that are all alike
        shares = optuna.importance.get_param_importances(study)
    return {"importance.png": draw_importance(shares, trials=trials)} if any(shares.values()) else {}


def _best(study: "Study") -> "FrozenTrial | None":
    done = any(trial.state.name == "COMPLETE" for trial in study.trials)
    return study.best_trial if done else None


def _headline(best: "FrozenTrial", study: "Study") -> str:
    ended = sum(trial.state.is_finished() for trial in study.trials)
    return (
        f"# Trial {best.number}, the best of {ended} by {study.user_attrs['objective']} of validation patches: "
        f"{best.value:.4f}, which is no result.\n"
        "# The held-out cases of its split took no part in the choice.\n"
    )


def _figures(study: "Study", best: "FrozenTrial | None") -> dict[str, float]:
    counts = {f"search/{state}": 0.0 for state in ("complete", "pruned", "fail")}
    for trial in study.trials:
        name = f"search/{trial.state.name.lower()}"
        counts[name] = counts.get(name, 0.0) + 1
    if best is None or best.value is None:
        return counts
    return {**counts, "search/best": best.value, "search/best_trial": float(best.number)}
