"""A model under corruptions: what is tried, what became of it, and who learns of it."""
