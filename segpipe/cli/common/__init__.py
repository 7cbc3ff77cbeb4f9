"""Flags and progress that several verbs share."""
