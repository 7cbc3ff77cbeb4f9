"""DICOMweb: searches, fetches and stores within bounds."""
