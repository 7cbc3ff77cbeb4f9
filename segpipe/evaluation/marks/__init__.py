"""Marks of a detector, points with a probability, against nodules that are given as points with a diameter."""
