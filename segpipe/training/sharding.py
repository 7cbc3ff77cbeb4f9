"""`trainer=fsdp`: processes share out weights, gradients and the optimizer's state; checkpoints hold them whole."""

import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import ModelParallelStrategy
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard

_LARGE = 2**20  # weights of a layer that is gathered on its own when it computes; smaller ones are gathered together


class ShardedStrategy(ModelParallelStrategy):
    """Torch's FSDP2 for any module, on GPUs as on CPUs; Lightning's own wants modules that shard themselves.

    Args:
        processes: How many train together.
    """

    def __init__(self, processes: int) -> None:
        super().__init__(data_parallel_size=processes, tensor_parallel_size=1, save_distributed_checkpoint=False)

    def setup(self, trainer: pl.Trainer) -> None:
        """Shards the network before the optimizer sees its weights."""
        assert self.accelerator is not None
        assert self.model is not None
        self.accelerator.setup(trainer)
        self.model_to_device()
        shard(self.lightning_module.network, self.device_mesh["data_parallel"])  # type: ignore[union-attr, arg-type]
        self.barrier()
        self.setup_optimizers(trainer)
        self.setup_precision_plugin()


def shard(network: torch.nn.Module, mesh: DeviceMesh) -> None:
    """Replaces the weights of a network by this process's shards of them."""
    for parameter in network.parameters():
        parameter.data = parameter.data.contiguous()  # shards are of rows
    for layer in network.modules():
        if sum(weight.numel() for weight in layer.parameters(recurse=False)) >= _LARGE:
            fully_shard(layer, mesh=mesh)
    fully_shard(network, mesh=mesh)
