"""Serving: the worker next to a PACS, with a queue that survives everything and a page that says how it is."""
