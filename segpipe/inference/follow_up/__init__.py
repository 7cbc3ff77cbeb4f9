"""The same lesion in an earlier scan: registration and matching."""
