"""Tracking: a run's configuration, curves, figures and files in MLflow; nothing outside this folder imports mlflow."""
