"""Lesions found and missed: matching, FROC and the operating point."""
