"""Many scans through one model: reading, predicting, writing and remembering."""
