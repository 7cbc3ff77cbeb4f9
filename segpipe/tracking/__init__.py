"""Tracking: telling MLflow the whole story of a run; nothing outside this folder imports mlflow."""
