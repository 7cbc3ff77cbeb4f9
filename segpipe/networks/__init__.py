# ruff: noqa: E402 (MONAI is imported before any file here does it)
"""Networks by name, all free of operations that cannot repeat themselves bit by bit, and independent of the batch."""

from segpipe.system.light_imports import import_monai

import_monai()

from segpipe.networks.registry import (
    NETWORKS,
    build_network,
    has_fixed_size,
    input_sizes,
    is_shipped,
    network_divisor,
)

__all__ = ["NETWORKS", "build_network", "has_fixed_size", "input_sizes", "is_shipped", "network_divisor"]
