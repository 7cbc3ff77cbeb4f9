"""How files are written, read and held: whole or not at all, bounded, by one process at a time."""
