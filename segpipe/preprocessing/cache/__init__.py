"""Prepared cases on disk: how they are found, made, opened and sampled."""
