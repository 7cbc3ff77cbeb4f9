"""From a scan and a model to a mask on the scan's own grid and to findings."""
