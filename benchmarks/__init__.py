"""Commands that measure segpipe next to its peers; a package, since some libraries install one of this name."""
