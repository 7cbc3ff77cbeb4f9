"""DICOM: series, segmentations, reports and structure sets, read and written side by side."""
