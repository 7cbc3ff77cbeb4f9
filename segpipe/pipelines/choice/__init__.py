"""Choosing among cross-validated runs: the candidates, their figures out of fold, and the chosen as a model folder."""
