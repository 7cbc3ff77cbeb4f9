"""Learns readers' ratings of nodules: from a data set's table to a calibrated network."""
