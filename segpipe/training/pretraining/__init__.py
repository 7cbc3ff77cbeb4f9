"""Learning from scans without outlines: hidden blocks of a patch are to be restored."""
