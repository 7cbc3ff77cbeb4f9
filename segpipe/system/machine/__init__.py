"""What a process may take of its machine: cores and memory, how its threads wait, and whose turn it is."""
