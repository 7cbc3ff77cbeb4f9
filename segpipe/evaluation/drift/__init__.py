"""Whether new scans, and what is found in them, are like those that a model was evaluated on."""
