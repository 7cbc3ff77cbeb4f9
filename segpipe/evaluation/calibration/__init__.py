"""Whether confidence is right: of what a model calls 80 % sure, four in five should be so."""
