"""Checkpoints: when they are written, and their files."""
