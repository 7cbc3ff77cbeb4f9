"""Readers' ratings predicted: what a network sees of a nodule, and what it says of findings."""
