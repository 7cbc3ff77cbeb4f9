"""The verbs of the command line; each module reads as the flow of its verb."""
