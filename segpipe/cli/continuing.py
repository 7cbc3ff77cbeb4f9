"""`python -m segpipe +experiment=continue init.from=MODEL`: goes on as MODEL was trained, and says how."""

import logging
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segpipe.config.parent_options import chosen_groups, continued_model, offer_parent
from segpipe.errors import ModelError

if TYPE_CHECKING:
    from segpipe.config.schema import Settings
    from segpipe.training.transfer.parent import Parent

log = logging.getLogger(__name__)
_CROPS = "lung_nodule_voi"
_INDEX, _MANIFEST = "segpipe.json", "manifest.json"


def prepare_continuing(words: Sequence[str]) -> None:
    """Lets Hydra find what `+experiment=continue` takes of the model that the words name; else does nothing.

    Raises:
        ConfigError: when the words name no model.
        ModelError: when it cannot be read, or has parts from elsewhere that the words do not replace.
    """
    named = continued_model(words)
    if named is None:
        return
    from segpipe.training.transfer.parent import read_parent

    parent, chosen = read_parent(named), chosen_groups(words)
    unfit = {section: why for section, why in parent.unfit.items() if section not in chosen}
    if unfit:
        example = next(iter(unfit))
        raise ModelError(
            "only plain values of segpipe's own parts are taken of a model, and nothing that it names is imported",
            facts={"init.from": named, **unfit},
            hint=f"say yourself what it shall be: {example}=OPTION, or {example}._target_=… with its keys",
        )
    whole = _completed(parent)
    offer_parent(whole.gentle_sections(), {**whole.split, "schedule": whole.short_schedule()})


def describe_continuing(settings: "Settings", content: Mapping[str, Any], folder: Path) -> None:
    """Logs what of a configuration is that of the model, and at which rate and how long the training goes on.

    A resumed run has said so, and needs the model no more.

    Args:
        settings: The checked configuration.
        content: The same as plain data.
        folder: The run folder.
    """
    from segpipe.training.transfer.initial_weights import FILE
    from segpipe.training.transfer.parent import read_parent
    from segpipe.training.transfer.settings import initialisation_of

    init = initialisation_of(settings)
    if init.continues and not (settings.resume and (folder / FILE).is_file()):
        for line in read_parent(str(init.source)).compared_with(content):
            log.info("%s", line)


def describe_decision(settings: "Settings", folder: Path) -> None:
    """Logs the commands that say whether the new model is better than the one that it began with.

    Both are compared on the cases that the new run holds out, and on the older ones that the other held out. Commands
    take data sets that `ingest` has made, and model folders.

    Args:
        settings: The checked configuration.
        folder: The run folder.
    """
    from segpipe.training.transfer.settings import initialisation_of

    init, data = initialisation_of(settings), settings.data
    parent = _model_of(str(init.source)) if init.continues else None
    if parent and data.name == "manifest":
        log.info("whether it is better than the model that it began with say, on new cases and on old ones:")
        for command in _decisions(parent, data.root, data.rehearsal, folder):
            log.info("  %s", command)


def _decisions(parent: str, new: str, old: str | None, folder: Path) -> Iterator[str]:
    child, home = str(folder / "model"), folder / "comparison"
    before, after = str(home / "parent_on_new"), str(folder)
    yield " && ".join([_evaluate(parent, new, before), _compare(before, after, home / "new")])
    if old and (Path(old).expanduser() / _MANIFEST).is_file():
        before, after = str(home / "parent_on_old"), str(home / "child_on_old")
        evaluations = [_evaluate(parent, old, before), _evaluate(child, old, after)]
        yield " && ".join([*evaluations, _compare(before, after, home / "old")])


def _evaluate(model: str, data: str, output: str) -> str:
    return shlex.join(["python", "-m", "segpipe", "evaluate", "--model", model, "--data", data, "--output", output])


def _compare(first: str, second: str, output: Path) -> str:
    return shlex.join(["python", "-m", "segpipe", "compare", first, second, "--output", str(output)])


def _model_of(named: str) -> str | None:
    """The model folder, or the shipped model, that `init.from` names; None where it has only checkpoints."""
    from segpipe.export.shipped import find_model

    path = find_model(named).expanduser()
    if (path / _INDEX).is_file():
        return named
    return str(path / "model") if (path / "model" / _INDEX).is_file() else None


def _completed(parent: "Parent") -> "Parent":
    """With what it does not say as in the experiment for its kind of recipe."""
    if not parent.lacking and parent.steps:
        return parent
    from segpipe.config.check import plain
    from segpipe.config.compose import compose
    from segpipe.training.transfer.parent import how_trained

    words = [f"+experiment={parent.like}", *([] if parent.like == _CROPS else ["data=manifest"]), "data.root=."]
    return parent.completed(how_trained(plain(compose(words, registries=dict))))
