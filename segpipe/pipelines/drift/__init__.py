"""New scans next to those that a model was evaluated on."""
