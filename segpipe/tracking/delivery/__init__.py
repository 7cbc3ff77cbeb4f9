"""From what a run logs to the server: spooled while it does not answer, sent in order, never in a training's way."""
