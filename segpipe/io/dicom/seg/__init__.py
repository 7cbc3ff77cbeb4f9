"""Segmentation objects."""
