"""Volumes in files: NIfTI, NRRD and MetaImage."""
