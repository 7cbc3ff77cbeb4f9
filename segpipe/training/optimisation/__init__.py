"""What weights are learnt by: losses, optimizers, schedules and the averaging of weights."""

from segpipe.system.light_imports import import_monai

import_monai()
