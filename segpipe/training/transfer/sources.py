"""What `init.from` names: found, verified, and read as tensors by name, with all that is known of its origin."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from segpipe.errors import ModelError
from segpipe.export.export_spec import INDEX, METADATA, MONAI_WEIGHTS, WEIGHTS
from segpipe.export.model_folder import read_model_folder
from segpipe.export.shipped import find_model, shipped_models
from segpipe.networks.registry import members_of
from segpipe.preprocessing.recipe import Recipe
from segpipe.spelling import did_you_mean
from segpipe.system.files.plain_files import read_json
from segpipe.training.checkpoints.files import LAST, read_checkpoint
from segpipe.training.transfer.known_weights import find_known, known_weights
from segpipe.training.transfer.settings import Axes, Initialisation
from segpipe.training.transfer.weight_files import Weights, read_weights

_MEMBER = "members.0."
_UNKNOWN = "unknown"


@dataclass(frozen=True)
class Source:
    """Weights and where they come from.

    Args:
        name: What it is called in logs and on the model card; no path.
        kind: What it is.
        sha256: Of the file of weights.
        weights: Name → tensor.
        licence: Of the weights.
        axes: The order of the spatial axes in their kernels.
        recipe: How scans were prepared for a model of segpipe.
        about: What such a model says of its training.
    """

    name: str
    kind: str
    sha256: str
    weights: Weights = field(repr=False)
    licence: str = _UNKNOWN
    axes: Axes = "xyz"
    recipe: Recipe | None = None
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def lineage(self) -> str:
        """The models that the weights descend from, the youngest first."""
        if not self.about:
            return f"{self.name} ({self.sha256[:12]})"
        own = f"{self.about.get('experiment', self.name)} on {self.about.get('data', _UNKNOWN)} ({self.sha256[:12]})"
        former = (self.about.get("init") or {}).get("lineage")
        return f"{own} ← {former}" if former else own


def open_source(init: Initialisation) -> Source:
    """Finds and reads what `init.from` names.

    Raises:
        ModelError: when there is no such thing, it is damaged, or holds no weights.
    """
    named = str(init.source)
    known = find_known(named)
    source = _of_file(known.file, known.origin) if known else _open(named)
    if known and source.sha256 != known.sha256:
        facts = {"file": known.file, "found": source.sha256, "wanted": known.sha256}
        raise ModelError("the weights have another checksum than their publisher says", facts=facts, hint=known.fetch)
    if known:
        return replace(source, name=named, kind=known.origin, licence=known.licence, axes=known.axes)
    licence = init.licence or source.licence
    return replace(source, licence=licence, axes=init.axes)


def _open(named: str) -> Source:
    path = find_model(named).expanduser()
    if not path.exists():
        names = [*shipped_models(), *known_weights()]
        raise ModelError(
            f"there is nothing to take initial weights from{did_you_mean(named, names)}",
            facts={"init.from": named, "known": ", ".join(names)},
            hint="give a model folder, a run folder, a MONAI bundle, or a file of weights",
        )
    if path.is_file():
        return _of_checkpoint(path) if path.suffix == ".ckpt" else _of_file(path, "file of weights")
    for model in (path, path / "model"):  # of a run
        if (model / INDEX).is_file():
            return _of_model(model, name=path.name)
    if (path / "checkpoints" / LAST).is_file():
        return _of_checkpoint(path / "checkpoints" / LAST)
    return _of_bundle(path)


def _of_model(path: Path, *, name: str) -> Source:
    model = read_model_folder(path)
    weights = read_weights(model.weights)
    kind = "segpipe model"
    if members_of(model.network):
        kind = f"first of the {len({key.split('.')[1] for key in weights})} networks of a segpipe model"
        weights = {key.removeprefix(_MEMBER): value for key, value in weights.items() if key.startswith(_MEMBER)}
    licence = str(model.about.get("licence", "see LICENSE in its folder"))
    return Source(name, kind, _sha256(model.weights), weights, licence, recipe=model.recipe, about=model.about)


def _of_checkpoint(file: Path) -> Source:
    content = read_checkpoint(file)
    prefix, about = "network.", content["segpipe"]
    weights = {
        key.removeprefix(prefix): value for key, value in content["state_dict"].items() if key.startswith(prefix)
    }
    recipe = Recipe.from_dict(about["recipe"]) if "recipe" in about else None
    name = file.parent.parent.name
    return Source(name, "segpipe checkpoint", _sha256(file), weights, "that of its run", recipe=recipe, about=about)


def _of_bundle(path: Path) -> Source:
    files = [path / name for name in (WEIGHTS, MONAI_WEIGHTS) if (path / name).is_file()]
    if not files:
        raise ModelError(
            "the folder must be a model folder, a run folder or a MONAI bundle",
            facts={"folder": path, "missing": f"{INDEX}, checkpoints/{LAST}, {WEIGHTS} and {MONAI_WEIGHTS}"},
        )
    return replace(_of_file(files[0], "MONAI bundle"), name=path.name, licence=_licence_of_bundle(path))


def _licence_of_bundle(path: Path) -> str:
    try:
        metadata = read_json(path / METADATA)
        named = [metadata[key] for key in ("license", "licence", "copyright") if metadata.get(key)]
    except (OSError, ValueError, AttributeError):
        named = []
    texts = [file.name for file in sorted(path.glob("LICENSE*"))]
    return str(named[0]) if named else f"see {texts[0]} in its folder" if texts else _UNKNOWN


def _of_file(file: Path, kind: str) -> Source:
    return Source(file.name, kind, _sha256(file), read_weights(file))


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
