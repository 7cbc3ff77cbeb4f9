"""Networks by name, all free of operations that cannot repeat themselves bit by bit, and independent of the batch."""

from segpipe.networks.registry import FIXED_SIZE, NETWORKS, build_network, network_divisor

__all__ = ["FIXED_SIZE", "NETWORKS", "build_network", "network_divisor"]
