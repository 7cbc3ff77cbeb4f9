"""The weights of a checkpoint, for whoever predicts with them."""

from pathlib import Path

import torch

from segpipe.training.checkpoints.files import read_checkpoint


def load_weights(network: torch.nn.Module, checkpoint: Path) -> torch.nn.Module:
    """Loads a checkpoint's (averaged) weights into a network, puts it into eval mode and no longer compiles it."""
    state = read_checkpoint(checkpoint)["state_dict"]
    prefix = "network."
    network.load_state_dict({key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)})
    network._compiled_call_impl = None  # of `compile()`, which has no opposite
    return network.eval()


def step_of(checkpoint: Path) -> int:
    """Optimizer steps that were taken before it."""
    return int(read_checkpoint(checkpoint)["global_step"])
