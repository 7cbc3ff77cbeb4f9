"""From cross-validated runs to one model folder: the best configuration or ensemble, by figures out of fold."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from segpipe.errors import DatasetError
from segpipe.evaluation.bootstrap import interval_of_mean
from segpipe.evaluation.comparison.choice import Candidate, Choice, choose, choose_nested
from segpipe.evaluation.reading import Evaluation
from segpipe.export.model_folder import ModelFolder, load_network, write_model_folder
from segpipe.export.second_stage import load_stage
from segpipe.export.seen_cases import SEEN, seen_together
from segpipe.pipelines.choice.combined import Together, evaluate_together, join_networks
from segpipe.pipelines.choice.runs import ValidatedRun, why_apart
from segpipe.pipelines.reexport import prepare_first_case
from segpipe.system.files.atomic_write import write_json
from segpipe.training.evaluate_and_export import figures_of

log = logging.getLogger(__name__)
Team = tuple[ValidatedRun, ...]


@dataclass(frozen=True)
class ChoiceOptions:
    """How is chosen.

    Args:
        metric: The figure of each case, the larger the better.
        members: How many runs an ensemble has at most; 1 makes none.
        device: What predicts for ensembles.
        seed: Of resamples and permutations.
    """

    metric: str = "dice"
    members: int = 2
    device: str = "auto"
    seed: int = 0


@dataclass(frozen=True)
class Chosen:
    """What was chosen.

    Args:
        report: The content of `choice.json`.
        model: Its model folder.
        summary: Of its evaluation, out of fold.
    """

    report: dict[str, Any]
    model: ModelFolder
    summary: Mapping[str, Any]


def choose_model(runs: Sequence[ValidatedRun], output: Path, options: ChoiceOptions) -> Chosen:
    """Chooses among runs and their ensembles, and writes `choice.json` and the model folder of what was chosen.

    Args:
        runs: Two or more, of the same data.
        output: Where to; evaluations of ensembles go to `candidates`, the model folder to `model`.
        options: How.

    Raises:
        DatasetError: when the runs share no case with the figure, or the data set is not what it was.
        ModelError: when the chosen model cannot be written.
    """
    teams, apart = _teams(runs, options.members)
    together = {name: _predict(name, team, output, options) for name, team in teams.items() if len(team) > 1}
    evaluations = {
        name: together[name].evaluation if name in together else team[0].evaluation for name, team in teams.items()
    }
    cases, patients = _shared_cases(list(evaluations.values()), options.metric)
    candidates = [
        Candidate(name, _figures(evaluation, cases, options.metric), _cost(teams[name]))
        for name, evaluation in evaluations.items()
    ]
    choice = choose(candidates, patients, seed=options.seed)
    nested = choose_nested(candidates, patients, [runs[0].folds[case] for case in cases], seed=options.seed)
    report = {
        "metric": options.metric,
        "cases": len(cases),
        "patients": len(set(patients)),
        "taken": choice.taken,
        "best": choice.best,
        "candidates": [_row(one, teams[one.name], choice, patients, options.seed) for one in candidates],
        "nested": asdict(nested),
        "apart": apart,
    }
    write_json(output / "choice.json", report, what="the choice")
    taken, selection = choice.taken, _selection(report)
    model = _export(teams[taken], evaluations[taken], together.get(taken), output / "model", selection=selection)
    return Chosen(report, model, evaluations[taken].summary)


def _teams(runs: Sequence[ValidatedRun], most: int) -> tuple[dict[str, Team], dict[str, str]]:
    """Each run, and each set of runs that can be one ensemble; and why others cannot."""
    teams: dict[str, Team] = {run.name: (run,) for run in runs}
    apart: dict[str, str] = {}
    for size in range(2, min(most, len(runs)) + 1):
        for team in combinations(runs, size):
            name, reason = "+".join(run.name for run in team), why_apart(team)
            if reason:
                apart[name] = reason
            else:
                teams[name] = team
    return teams, apart


def _predict(name: str, team: Team, output: Path, options: ChoiceOptions) -> Together:
    log.info("predicting out of fold: %s", name)
    folder = output / "candidates" / name
    return evaluate_together(team, name, folder, device=options.device, seed=options.seed)


def _shared_cases(evaluations: Sequence[Evaluation], metric: str) -> tuple[list[str], list[str]]:
    """The cases of which all evaluations have the figure, and their patients."""
    having = [{str(row["case"]) for row in one.cases if row.get(metric) is not None} for one in evaluations]
    cases = sorted(set.intersection(*having))
    if not cases:
        known = [name for name, value in evaluations[0].cases[0].items() if isinstance(value, float)]
        raise DatasetError(
            "the runs share no case with this figure",
            facts={"metric": metric, "known": ", ".join(known)},
            hint="--metric dice",
        )
    patients = {str(row["case"]): str(row["patient"]) for row in evaluations[0].cases}
    return cases, [patients[case] for case in cases]


def _figures(evaluation: Evaluation, cases: Sequence[str], metric: str) -> Any:
    known = {str(row["case"]): row[metric] for row in evaluation.cases}
    return np.array([float(known[case]) for case in cases])


def _cost(team: Team) -> tuple[int, int]:
    """Runs, then bytes of weights."""
    return len(team), sum(run.weights for run in team)


def _row(one: Candidate, team: Team, choice: Choice, patients: Sequence[str], seed: int) -> dict[str, Any]:
    behind = choice.behind.get(one.name)
    return {
        "name": one.name,
        "runs": [str(run.folder) for run in team],
        "megabytes": round(one.cost[1] / 1e6, 1),
        "mean": float(one.figures.mean()),
        "ci95": interval_of_mean(list(one.figures), patients, seed=seed),
        "difference_to_best": behind.difference if behind else None,
        "difference_ci95": behind.interval if behind else None,
        "p": behind.p if behind else None,
    }


def _selection(report: Mapping[str, Any]) -> str:
    nested, count = report["nested"], len(report["candidates"])
    return (
        f"chosen among {count} candidates by {report['metric']} of the same out-of-fold cases, so that their figures "
        f"are optimistic; chosen without each fold and measured on it: {nested['mean']:.3f}"
    )


def _export(
    team: Team, evaluation: Evaluation, together: Together | None, folder: Path, *, selection: str
) -> ModelFolder:
    """The folds' networks of all chosen runs as one model."""
    first = team[0].model
    network, spec = join_networks(team) if together else (load_network(first), dict(first.network))
    about = {name: value for name, value in first.about.items() if name != SEEN}
    about |= seen_together([run.model.about for run in team])
    about |= {"fingerprint": together.fingerprint} if together else {}
    return write_model_folder(
        folder,
        network=network,
        spec=spec,
        recipe=first.recipe,
        operating_point={**first.operating_point, **({"confidence": None, **together.point} if together else {})},
        about={**about, "selection": selection, "chosen": [run.name for run in team], **figures_of(evaluation.summary)},
        example_bcxyz=prepare_first_case(team[0].config, first.recipe),
        second_stage=load_stage(first.path, first.second_stage) if first.second_stage else None,
    )
