"""Composing and checking the configuration of a run."""
