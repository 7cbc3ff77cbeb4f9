"""How a training that was stopped goes on: in which folder, with which settings, in which job."""
