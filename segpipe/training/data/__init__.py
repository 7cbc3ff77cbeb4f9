"""What a training reads: the cases of a run by role, their patches, and the loader that streams them."""
