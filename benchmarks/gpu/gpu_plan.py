"""What `ingest --plan` proposes for this card, for a data set with the measures of a chest CT archive."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from gpu_sizes import Row, Sizes, forget_memory

from segpipe.cli.train import registries
from segpipe.config.check import plain
from segpipe.config.compose import compose
from segpipe.datasets.fingerprint import Fingerprint, Lesions
from segpipe.planning.dry_step import ran_out_of_memory, step_peak
from segpipe.planning.plan import propose

SHARE, SMALL_BYTES = 0.9, 2**50
SPACING_MM = (0.8, 0.8, 2.5)


def rows(device: torch.device, sizes: Sizes) -> Iterator[Row]:
    """The plan, within nine tenths of the card; on a CPU within whatever it takes."""
    defaults = plain(compose([], registries))
    there = torch.cuda.get_device_properties(device).total_memory * SHARE if device.type == "cuda" else SMALL_BYTES

    def measure(network: Mapping[str, Any], patch: list[int], batch: int) -> int | None:
        forget_memory(device)
        job = {"network": dict(network), "loss": defaults["loss"], "patch": patch, "batch": batch, "labels": []}
        try:
            return step_peak(job)
        except RuntimeError as error:
            if ran_out_of_memory(str(error)):
                return None
            raise

    plan = propose(_fingerprint(sizes), defaults["network"], memory_bytes=int(there), measure=measure)
    for section in ("recipe", "training", "network"):
        for key, value in plan.values[section].items():
            yield Row(f"{section}.{key}", str(value))
    yield Row("a dry step of it", f"{plan.peak_bytes / 2**30:.1f} of {there / 2**30:.1f} GB")


def _fingerprint(sizes: Sizes) -> Fingerprint:
    lesions = Lesions(
        hu=(-600.0, -50.0, 210.0),
        per_case=(1, 2, 1),
        volumes_mm3=(100.0, 500.0, 2000.0),
        diameters_mm=(8.0, 12.0, 20.0),
    )
    return Fingerprint(
        cases=200,
        spacing_mm=np.array([SPACING_MM] * 3),
        extent_mm=np.array([[sizes.extent_mm] * 3] * 3),
        lesions=lesions,
    )
