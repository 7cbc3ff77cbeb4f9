"""Which of several runs is better, by how much, and whether it is luck."""
