"""A PACS: DICOMweb and C-STORE."""
