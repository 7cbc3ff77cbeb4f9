"""`python -m segpipe ingest --plan DATASET --memory 8GB`: proposes a plan and writes it beside the manifest."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segpipe.errors import ConfigError

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def plan(dataset: Path, memory: str, *, workers: int | None = None) -> Path:
    """Measures a data set, finds what fits the memory by dry steps, and writes `plan.yaml` into its folder.

    Raises:
        ConfigError: for a memory that cannot be read or is too small.
        DatasetError: for a data set without readable lesions.
    """
    from segpipe.config.compose import check_command_line, plain, read_command_line
    from segpipe.datasets.fingerprint import take_fingerprint
    from segpipe.datasets.manifest import read_manifest
    from segpipe.training.dry_step import measure_step
    from segpipe.training.planning import propose

    limit = parse_memory(memory)
    fingerprint = take_fingerprint(read_manifest(dataset), workers=workers)
    defaults = plain(check_command_line(read_command_line([]), {}))

    def measure(network: Mapping[str, Any], patch: list[int], batch: int) -> int | None:
        return measure_step(network, defaults["loss"], patch=patch, batch=batch)

    proposal = propose(fingerprint, defaults["network"], memory_bytes=limit, measure=measure)
    folder = dataset if dataset.is_dir() else dataset.parent
    file = folder / "plan.yaml"
    part = file.with_suffix(".part")
    part.write_text(proposal.to_yaml(f"A plan for {fingerprint.cases} cases within {memory}; change what you like."))
    part.replace(file)
    print(file.read_text(), end="")
    print(f"python -m segpipe +experiment=lung_nodule data=manifest data.root={folder} +plan={file}")
    return file


def parse_memory(text: str) -> int:
    """Bytes of a size such as `8GB` or `500M`.

    >>> parse_memory("8GB")
    8589934592

    Raises:
        ConfigError: when it is not a size.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)i?B?", text.strip(), flags=re.IGNORECASE)
    if not match or float(match[1]) <= 0:
        raise ConfigError("a memory size is a number and a unit", facts={"found": text}, hint="--memory 8GB")
    return int(float(match[1]) * _UNITS[match[2].upper()])
