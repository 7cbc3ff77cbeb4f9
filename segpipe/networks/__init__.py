"""Networks by name, all free of operations that cannot repeat themselves bit by bit, and independent of the batch."""

from segpipe.networks.registry import (
    NETWORKS,
    build_network,
    has_fixed_size,
    input_sizes,
    is_shipped,
    network_divisor,
)

__all__ = ["NETWORKS", "build_network", "has_fixed_size", "input_sizes", "is_shipped", "network_divisor"]
