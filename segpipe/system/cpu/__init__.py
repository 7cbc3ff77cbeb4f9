"""How many cores a process may use, how its threads wait, and whose turn it is."""
