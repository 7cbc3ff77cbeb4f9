"""Jobs of a sweep that run elsewhere: their exit codes, and those that Slurm runs."""
