"""The verbs: each a thin Hydra application that builds objects and hands them on."""

import os

from unmask.parallel.processes import PARENT, follow

if PARENT in os.environ:  # another verb started this one, which ends with it even while PyTorch is still being imported
    follow(int(os.environ[PARENT]))
