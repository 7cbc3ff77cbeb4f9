"""Training: parts that arrive built, data that is a function of a seed, and the loop around them."""

from segpipe.system.light_imports import import_lightning

import_lightning()
