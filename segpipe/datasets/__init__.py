"""Lists of cases: manifests, sources, splits and the phantom."""
