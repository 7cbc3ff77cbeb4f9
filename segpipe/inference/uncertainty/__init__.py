"""How sure a network is: what it says of one scan when it is asked several times."""
