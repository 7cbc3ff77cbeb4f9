"""What weights are learnt by: losses, optimizers, schedules and the averaging of weights."""
