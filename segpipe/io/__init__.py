"""Reading and writing of files: every format enters and leaves here, in RAS+ and HU."""
