"""From a data set's fingerprint to spacing, patch, batch and depth that fit the memory."""
