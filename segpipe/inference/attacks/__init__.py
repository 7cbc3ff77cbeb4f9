"""Changes of a scan that are computed against the network that reads it."""
