"""One run as a whole: what it knows of itself and what it tells."""
