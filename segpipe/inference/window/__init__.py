"""The sliding window: where it goes, what it covers and how its results are put together."""
