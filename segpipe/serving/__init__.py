"""Serving: the worker beside a PACS, with a queue that survives everything and a page that tells how it is."""
