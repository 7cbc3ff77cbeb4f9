"""Mixed precision of training, without the convolutions that a CPU computes wrongly in bfloat16."""

from collections.abc import Generator
from contextlib import contextmanager

from pytorch_lightning.plugins.precision import MixedPrecision, Precision

from segpipe.networks.small_maps import SmallMapsInFloat32
from segpipe.system.processes.hardware import Compute


def precision_plugins(compute: Compute) -> list[Precision]:
    """What takes the place of Lightning's own precision: on a CPU in `bf16-mixed` `CpuBfloat16`, else nothing."""
    return [CpuBfloat16()] if (compute.device.type, compute.precision) == ("cpu", "bf16-mixed") else []


class CpuBfloat16(MixedPrecision):
    """`bf16-mixed` whose steps run under `SmallMapsInFloat32`, whatever module and network they are of."""

    def __init__(self) -> None:
        super().__init__("bf16-mixed", device="cpu")

    @contextmanager
    def forward_context(self) -> Generator[None, None, None]:
        """What training and validation steps run under."""
        with super().forward_context(), SmallMapsInFloat32():
            yield
