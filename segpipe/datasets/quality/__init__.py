"""What is wrong with a data set: one case's checks, the report of all, and its thumbnails."""
