"""Models in MLflow: the LoggedModel of each run, and versions of registered models."""
