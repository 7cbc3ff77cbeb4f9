"""The long run of mutated inputs: so many for each reader of foreign bytes, bounded in memory, each named by a seed."""
