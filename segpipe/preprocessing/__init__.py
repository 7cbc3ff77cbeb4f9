"""From a scan to the numbers a network sees, and back."""
