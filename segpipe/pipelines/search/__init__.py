"""Searches: trials that an Optuna sweep has chosen, trained one by one, and what they found together."""
