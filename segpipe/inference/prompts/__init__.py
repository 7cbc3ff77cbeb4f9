"""What a reader says of a lesion, and how the network's answer follows it."""
