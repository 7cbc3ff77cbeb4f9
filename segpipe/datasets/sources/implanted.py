"""Makes a data set of nodules in other lungs, and opens the nodules that it is made of."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segpipe.datasets.implanting import ImplantSettings, make_implanted
from segpipe.datasets.ingested_cases import IngestResult
from segpipe.datasets.manifest import Manifest, read_manifest
from segpipe.datasets.sources.base import IngestRequest
from segpipe.datasets.sources.folders import find_cases
from segpipe.errors import ConfigError


def ingest_implanted(request: IngestRequest) -> tuple[Manifest, IngestResult]:
    """See `Source.read`; `--input` is the data set of the hosts.

    Raises:
        ConfigError: without nodules, or for a shard.
        DatasetError: when hosts or nodules cannot be used.
    """
    options = request.options
    if not options["nodules"]:
        raise ConfigError("implanting needs nodules", hint="name their folder or data set with --nodules DIR")
    if request.shard:
        raise ConfigError("implanted nodules have no shards", hint="leave --shard out; cases are made in parallel")
    assert request.input is not None
    settings = ImplantSettings(options["copies"], options["per_scan"], options["healthy"], options["seed"])
    return make_implanted(
        request.output,
        hosts=read_manifest(request.input),
        nodules=open_nodules(options["nodules"], options),
        settings=settings,
        workers=request.workers,
    )


def open_nodules(root: Path, columns: Mapping[str, Any]) -> Manifest:
    """A data set with a manifest, or else a folder with `images/` and `masks/`.

    Args:
        root: The folder.
        columns: The table of patients and its columns, see `find_cases`.

    Raises:
        DatasetError: when there is nothing to use.
    """
    if root.is_file() or (root / "manifest.json").is_file():
        return read_manifest(root)
    wanted = {key: columns[key] for key in ("table", "case_column", "patient_column")}
    return find_cases(root, **wanted)
