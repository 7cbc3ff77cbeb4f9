"""Pictures and pages of evaluations."""
