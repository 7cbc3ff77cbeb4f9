"""Segmentation of lung nodules and lung tumours in CT: from a scan to an evaluated, exported model."""

__version__ = "0.1.0"
