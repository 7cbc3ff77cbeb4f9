"""A job that several calls share out among themselves, each a shard of it, and what they write down to be merged."""
