"""The verbs: each one is a thin Hydra application that builds objects and passes them on."""

import os

from unmask.parallel.processes import PARENT, follow

if PARENT in os.environ:  # started by another verb: exit when that one exits, even while PyTorch is being imported
    follow(int(os.environ[PARENT]))
