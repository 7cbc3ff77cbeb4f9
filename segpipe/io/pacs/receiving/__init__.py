"""C-STORE: series that peers send."""
