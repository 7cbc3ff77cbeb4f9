"""One run as a whole: the order of things, and nothing else."""
