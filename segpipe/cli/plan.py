"""`python -m segpipe ingest --plan DATASET --memory 8GB`: proposes a plan and writes it next to the manifest."""

import json
import shlex
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from segpipe.system.files.atomic_write import write_text

SHARE_OF_MACHINE = 80
"""Percent of a machine without GPU that a training may take."""


def plan(dataset: Path, memory: str, *, workers: int | None = None) -> Path:
    """Measures a data set, finds what fits the memory by dry steps, and writes `plan.yaml` and `fingerprint.json`.

    Raises:
        ConfigError: for a memory that cannot be read or is too small.
        DatasetError: for a data set that cannot be trained on, or without readable lesions.
        OutputError: when the files cannot be written.
    """
    from segpipe.config.check import plain
    from segpipe.config.compose import compose
    from segpipe.datasets.fingerprint import take_fingerprint
    from segpipe.datasets.manifest import read_manifest
    from segpipe.inference.batch.memory import parse_bytes
    from segpipe.planning.plan import plan_labels, propose
    from segpipe.planning.sizing import gigabytes
    from segpipe.system.machine.memory import available_memory
    from segpipe.training.data.run_data import check_outlines

    limit = _there(parse_bytes(memory), available_memory())
    manifest = read_manifest(dataset)
    check_outlines(manifest)
    fingerprint = take_fingerprint(manifest, workers=workers)
    defaults = plain(compose([], registries=dict))
    measure = partial(_measure, loss=defaults["loss"], labels=plan_labels(fingerprint).get("labels"))
    proposal = propose(fingerprint, defaults["network"], memory_bytes=limit, measure=measure)
    folder = dataset if dataset.is_dir() else dataset.parent
    _write(folder / "fingerprint.json", json.dumps(fingerprint.to_dict(), indent=1) + "\n")
    headline = (
        f"A plan for {fingerprint.cases} cases within {gigabytes(limit)}, see fingerprint.json; change what you like."
    )
    choices = _choices(dataset, str(defaults["network"]["name"]))
    file = _write(folder / "plan.yaml", proposal.to_yaml(headline, choices))
    print(file.read_text(), end="")
    experiment = "lung_nodule" if "nodule" in manifest.labels.values() else "lung_tumour"
    print(f"python -m segpipe +experiment={experiment} {shlex.quote(f'+plan={file}')}")
    return file


def _measure(
    network: Mapping[str, Any],
    patch: list[int],
    batch: int,
    *,
    loss: Mapping[str, Any],
    labels: Mapping[int, str] | None,
) -> int | None:
    """The most memory that a step takes, in bytes, said as it is measured; None where there is not enough."""
    from segpipe.planning.dry_step import measure_step
    from segpipe.planning.sizing import gigabytes

    peak = measure_step(network, loss, patch=patch, batch=batch, labels=labels)
    took = "ran out of memory" if peak is None else gigabytes(peak)
    print(f"dry step: patch {'×'.join(map(str, patch))}, batch {batch}: {took}", file=sys.stderr, flush=True)
    return peak


def _choices(dataset: Path, network: str) -> str:
    """The options that the plan's numbers are for, as YAML."""
    import yaml

    chosen = [{"override /data": "manifest"}, {"override /network": network}]
    data = {"defaults": chosen, "data": {"root": str(dataset.resolve())}}
    return str(yaml.safe_dump(data, allow_unicode=True, width=10**6, sort_keys=False))


def _there(wanted: int, machine: int) -> int:
    """What may be measured: without a GPU a step that takes more than the machine has would bring it down."""
    import torch

    from segpipe.planning.sizing import gigabytes

    most = machine * SHARE_OF_MACHINE // 100
    if torch.cuda.is_available() or wanted <= most:
        return wanted
    print(
        f"{gigabytes(wanted)} cannot be measured here: there is no GPU, and the machine has {gigabytes(machine)}; "
        f"planning for {gigabytes(most)}. For a GPU, plan on the machine that has it.",
        file=sys.stderr,
    )
    return most


def _write(file: Path, text: str) -> Path:
    return write_text(file, text, what="the plan")
