"""The processes of a run: on which devices, how they start, share the work and agree, and how they end."""
