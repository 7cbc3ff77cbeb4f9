"""What runs are compared, the cases in which they differ, and what MLflow keeps of it."""
